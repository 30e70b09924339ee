"""What clients send, checked: unknown keys are refused, texts and numbers have bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from orch.planning.words import SweepWords
from orch.service.schedules import CatchUp, Mode, Overlap, Wish
from orch.settings import Pruner, Sampler

Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Id = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Seconds = Annotated[float, Field(ge=0, le=10 * 365 * 86_400, allow_inf_nan=False)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]
Texts = Annotated[dict[Name, Text], Field(max_length=50)]


class Body(BaseModel):
    """What every body is."""

    model_config = ConfigDict(extra="forbid", strict=False)


class Sweep(Body):
    """The words of a sweep, as `orch sweep` is told them. Names are of registered plugins."""

    dataset: Name
    strategy: Name = "fine-tune"
    backbone: Name | None = None
    name: Text | None = None
    limit: Annotated[int, Field(ge=1, le=2**40)] | None = None
    seconds: Annotated[float, Field(gt=0, le=10 * 365 * 86_400)] | None = None
    metric: Literal["val_accuracy", "val_loss", "accuracy", "loss"] = "val_accuracy"
    space: Texts = Field(default_factory=dict)
    options: Texts = Field(default_factory=dict)
    trials: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    sampler: Sampler | None = None
    pruner: Pruner | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    keep: Annotated[int, Field(ge=0, le=10_000)] | None = None
    concurrent: Annotated[int, Field(ge=0, le=100_000)] | None = None
    gpus_per_trial: Annotated[float, Field(ge=-1, le=1000, allow_inf_nan=False)] | None = None
    cpus_per_trial: Annotated[int, Field(ge=0, le=10_000)] | None = None
    hang_timeout: Seconds | None = None
    trial_timeout: Seconds | None = None
    max_failures_in_a_row: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    strict: bool = False

    def words(self) -> SweepWords:
        """The same as what is queued."""
        return SweepWords.from_json(self.model_dump(exclude_none=True, exclude={"priority"}))


class QueuedSweep(Sweep):
    """A sweep and its place in the queue: higher priorities run first."""

    priority: Priority = 0


class Place(Body):
    """A place in the queue."""

    priority: Priority = 0


class Extension(Place):
    """So many trials more, or in all."""

    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    in_all: bool = False


class Retry(Place):
    """Failed trials of these classes, or all."""

    classes: Annotated[list[Text], Field(max_length=20)] = Field(default_factory=list)


class Schedule(Body):
    """A stored sweep with a cron expression; `window` and `jitter` are seconds."""

    name: Name
    cron: Text
    sweep: Sweep
    timezone: Text = "UTC"
    overlap: Overlap = "skip"
    catch_up: CatchUp = "latest"
    mode: Mode = "new"
    window: Seconds = 86_400.0
    jitter: Seconds = 0.0
    until: Text | None = None
    priority: Priority = 0

    def wish(self) -> Wish:
        """The same as the service takes it."""
        fields = self.model_dump(exclude={"sweep"})
        return Wish(**fields, words=self.sweep.words())
