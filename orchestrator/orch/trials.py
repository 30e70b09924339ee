"""What travels between the driver and its workers: a trial, its epochs and how it ended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from orch.contracts import (
    Augmentation,
    Dense,
    Head,
    ImageInput,
    Optimizer,
    Own,
    Plan,
    Schedule,
    Stage,
)
from orch.errors import DataError
from orch.space import Value


@dataclass(frozen=True)
class Objective:
    """What makes one trial better than another."""

    metric: str = "val_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"

    def better(self, left: float, right: float) -> bool:
        """Tell whether `left` beats `right`."""
        return left > right if self.direction == "maximize" else left < right


@dataclass(frozen=True)
class TrialSpec:
    """One configuration, as it travels to a worker: JSON-able, a few hundred bytes.

    With `keep` the worker leaves a checkpoint of the best epoch when the trial completes.
    `stored_cuts` are those whose features may be stored; None means all. A later `attempt` goes
    on where one before it was saved, and leaves out of its reports the first `known_epochs`,
    which are recorded, where they are part of what was saved.
    `accumulate` is in how many parts a batch is learnt from, for want of memory. After
    `hang_seconds` without a batch the process ends; after `trial_seconds` the attempt fails.
    """

    sweep: str
    number: int
    dataset: str
    dataset_options: Mapping[str, Value]
    dataset_digest: str
    limit: int | None
    backbone: str
    weights_digest: str
    strategy: str
    params: Mapping[str, Value]
    objective: Objective
    seed: int
    attempt: int = 1
    keep: bool = True
    stored_cuts: Sequence[int] | None = None
    known_epochs: int = 0
    accumulate: int = 1
    hang_seconds: float | None = None
    trial_seconds: float | None = None
    classes: Sequence[str] = ()

    @property
    def id(self) -> str:
        """An id that is the same when the same trial is recorded twice."""
        return hashlib.sha256(f"{self.sweep} {self.number}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class EpochReport:
    """The metrics after an epoch; epochs count from 1 across all stages of a trial."""

    epoch: int
    stage: int
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Filling:
    """How far an array that the trial needs has been computed, in examples."""

    what: str
    done: int
    total: int


FailureKind = Literal[
    "out of memory",
    "not finite",
    "data",
    "plugin",
    "configuration",
    "worker lost",
    "hung",
    "timeout",
    "internal",
    "storage",
]


@dataclass(frozen=True)
class Failure:
    """Why a trial failed: the class, one line, the traceback where there is one, and what helps
    where that is known.
    """

    kind: FailureKind
    message: str
    traceback: str = ""
    hint: str = ""


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended in its worker: completed, or failed with a reason."""

    score: float | None
    best_epoch: int | None
    metrics: Mapping[str, float]
    seconds: float
    plan: Mapping[str, object] = field(default_factory=dict[str, object])
    cut: str | None = None
    failure: Failure | None = None


def to_json(part: Any) -> Any:
    """A plan, or a part of one, as plain values.

    What is a strategy's own becomes the name of its function, the arguments, and a digest of the
    file that the function stands in.
    """
    match part:
        case Own():
            return {
                "function": part.name,
                "arguments": dict(part.arguments),
                "source": part.source,
            }
        case tuple():
            items: tuple[Any, ...] = part
            return [to_json(each) for each in items]
        case _ if is_dataclass(part):
            return {each.name: to_json(getattr(part, each.name)) for each in fields(part)}
        case _:
            return part


def has_own(document: Any) -> bool:
    """Whether a plan as plain values names functions of its strategy, which it does not hold."""
    match document:
        case {"function": _, "source": _}:
            return True
        case {**parts}:
            return any(map(has_own, parts.values()))
        case [*parts]:
            return any(map(has_own, parts))
        case _:
            return False


def plan_from_json(document: Mapping[str, Any]) -> Plan:
    """Read a plan that was written as plain values, and that has nothing of its strategy's own.

    Raises:
        DataError: it was written by another version, or is empty.
    """
    try:
        return _plan(document)
    except (KeyError, TypeError):
        raise DataError(
            "the plan of this trial was not recorded as this version of orch reads it",
            "run the trial again",
        ) from None


def _plan(document: Mapping[str, Any]) -> Plan:
    image, head = dict(document["image"]), dict(document["head"])
    image["size"] = tuple(image["size"])
    head["dense"] = tuple(Dense(**each) for each in head["dense"])
    return Plan(
        image=ImageInput(**image),
        head=Head(**head),
        stages=tuple(_stage_from_json(each) for each in document["stages"]),
        augmentation=Augmentation(**document["augmentation"]),
    )


def _stage_from_json(document: Mapping[str, Any]) -> Stage:
    stage = dict(document)
    stage["optimizer"] = Optimizer(**stage["optimizer"])
    stage["schedule"] = Schedule(**stage["schedule"])
    return Stage(**stage)
