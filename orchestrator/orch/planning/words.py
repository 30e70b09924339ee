"""The words of a sweep as plain values: what is queued, stored in schedules, sent to a service.

Nothing in them names a path, an address, or Python to import.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

from orch import catalog, probing, registry, search_space
from orch.clock import now
from orch.contracts import Progress
from orch.errors import NotFoundError, OrchError, UsageError, nearest
from orch.home import Home
from orch.planning.spec import METRICS, PlannedSweep, SweepRequest, plan_sweep
from orch.settings import Pruner, Sampler, Settings
from orch.training import backbones
from orch_db.records import SweepRecord

# Settings of the process that runs a sweep, which its words may set.
FLAGS = (
    "concurrent",
    "gpus_per_trial",
    "cpus_per_trial",
    "hang_timeout",
    "trial_timeout",
    "max_failures_in_a_row",
)
SEARCH = ("trials", "sampler", "pruner", "seed", "keep")  # settings that become the sweep's own
LONGEST = 200  # characters of a name or a text


@dataclass(frozen=True)
class SweepWords:
    """What was said of a sweep; None where nothing was, and the settings decide.

    `seconds`, `hang_timeout` and `trial_timeout` are seconds. `warm_start` is a sweep whose best
    configuration is tried first.
    """

    dataset: str
    strategy: str = "fine-tune"
    backbone: str | None = None
    name: str | None = None
    limit: int | None = None
    seconds: float | None = None
    metric: str = "val_accuracy"
    space: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    trials: int | None = None
    sampler: Sampler | None = None
    pruner: Pruner | None = None
    seed: int | None = None
    keep: int | None = None
    concurrent: int | None = None
    gpus_per_trial: float | None = None
    cpus_per_trial: int | None = None
    hang_timeout: float | None = None
    trial_timeout: float | None = None
    max_failures_in_a_row: int | None = None
    strict: bool = False
    warm_start: str | None = None

    @property
    def request(self) -> SweepRequest:
        """What is planned."""
        names = [each.name for each in dataclasses.fields(SweepRequest)]
        return SweepRequest(**{name: getattr(self, name) for name in names if hasattr(self, name)})

    @property
    def settings(self) -> dict[str, Any]:
        """What it says of settings."""
        said = {name: getattr(self, name) for name in (*SEARCH, *FLAGS)}
        return {name: value for name, value in said.items() if value is not None}

    @property
    def flags(self) -> dict[str, Any]:
        """What it says of the process that runs it."""
        return {name: value for name, value in self.settings.items() if name in FLAGS} | (
            {"strict": True} if self.strict else {}
        )

    def to_json(self) -> dict[str, Any]:
        """A document of plain values, of what was said alone."""
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in asdict(self).items()
            if value is not None and value is not False and value != {}
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SweepWords:
        """Read what `to_json` wrote, or a client sent.

        Raises:
            UsageError: a word that is none, or a value of another type.
        """
        known = {each.name: each for each in dataclasses.fields(cls)}
        for name, value in document.items():
            if name not in known:
                raise UsageError(f"{name!r} is no option of a sweep{nearest(name, known)}")
            if value is not None and not _fits(value, str(known[name].type)):
                raise UsageError(f"{name} is {str(value)[:40]!r}, which is not {known[name].type}")
        if not document.get("dataset"):
            raise UsageError("no dataset was named", "orch datasets lists them")
        return cls(**{name: value for name, value in document.items() if value is not None})


def _fits(value: Any, annotation: str) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if annotation.startswith("Mapping"):
        return isinstance(value, Mapping) and all(
            isinstance(part, str) and len(part) <= LONGEST
            for pair in value.items()  # pyright: ignore[reportUnknownVariableType]
            for part in pair  # pyright: ignore[reportUnknownVariableType]
        )
    if annotation.startswith("bool"):
        return isinstance(value, bool)
    if annotation.startswith(("int", "float")):
        number = isinstance(value, int) and not isinstance(value, bool)
        return number or (annotation.startswith("float") and isinstance(value, float))
    return isinstance(value, str) and len(value) <= LONGEST


def check(words: SweepWords, home: Home) -> None:
    """Check what can be checked without importing a plugin.

    Raises:
        NotFoundError: no plugin or backbone has that name.
        UsageError: a space, metric, sampler, pruner or number that makes no sense.
    """
    for kind, name, known in (
        ("dataset", words.dataset, catalog.names(home)),
        ("strategy", words.strategy, registry.strategy_names()),
    ):
        if name not in known:
            plural = {"dataset": "datasets", "strategy": "strategies"}[kind]
            raise NotFoundError.among(kind, name, known, f"orch {plural} lists all")
    if words.backbone is not None:
        backbones.check_name(words.backbone)
    if words.metric not in METRICS:
        raise UsageError(f"no metric is called {words.metric!r}{nearest(words.metric, METRICS)}")
    for name, text in words.space.items():
        search_space.parse_domain(name, text)
    for name, choices in (("sampler", get_args(Sampler)), ("pruner", get_args(Pruner))):
        chosen = getattr(words, name)
        if chosen is not None and chosen not in choices:
            raise UsageError(f"no {name} is called {chosen!r}{nearest(chosen, choices)}")
    if words.limit is not None and words.limit < 1:
        raise UsageError(f"--limit {words.limit} leaves no example", "give 1 or more")
    if words.seconds is not None and words.seconds <= 0:
        raise UsageError("its time leaves none", "write 2h, 1h30m or 90s")
    _check_settings(words)


def _check_settings(words: SweepWords) -> None:
    least = {each.name: each.metadata["least"] for each in dataclasses.fields(Settings)}
    for name, value in words.settings.items():
        if least[name] is not None and value < least[name]:
            raise UsageError(f"{name} is {value}, the least is {least[name]:g}")


def queued(words: SweepWords, settings: Settings) -> SweepRecord:
    """The row of a sweep that waits as words alone, to be planned by the process that runs it."""
    search = {name: getattr(settings, name) for name in SEARCH}
    said = {**search, **{name: words.settings[name] for name in SEARCH if name in words.settings}}
    return SweepRecord(
        id=uuid.uuid4().hex[:12],
        name=words.name or f"{words.dataset}-{words.strategy}",
        state="queued",
        dataset=words.dataset,
        strategy=words.strategy,
        backbone=words.backbone or "",
        metric=words.metric,
        direction=METRICS[words.metric],
        board="",
        spec={"words": {**words.to_json(), **said}, "trials": said["trials"]},
        versions={},
        git_commit=None,
        created_at=now(),
        parent=words.warm_start,
    )


def is_unplanned(record: SweepRecord) -> bool:
    """True for a sweep that waits as words alone."""
    return "words" in record.spec


def plan(record: SweepRecord, settings: Settings, home: Home, progress: Progress) -> PlannedSweep:
    """Plan a sweep that waits as words alone; it keeps its id.

    Raises:
        OrchError: as `plan_sweep`.
    """
    words = SweepWords.from_json(record.spec["words"])
    search = {name: value for name, value in words.settings.items() if name in SEARCH}
    search["trials"] = int(record.spec["trials"])  # it may have been extended while it waited
    own = replace(settings, **search)
    planned = plan_sweep(words.request, own, home, progress)
    return replace(planned, spec=replace(planned.spec, id=record.id))


def fingerprint(words: SweepWords, home: Home) -> str:
    """What a sweep would train on and with today: data, weights, plugins, space. Imports no plugin.

    What is not there yet has no digest, and so differs from itself once it is.
    """
    there = catalog.find(home, words.dataset)
    known = [
        {name: value for name, value in words.to_json().items() if name != "warm_start"},
        there.digest if there else None,
        catalog.brought_by(home, words.dataset),
        registry.version(registry.STRATEGIES, words.strategy),
        *_network(words, home),
    ]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _network(words: SweepWords, home: Home) -> tuple[str | None, str | None]:
    """Which distribution brings the backbone, and the digest of its weights."""
    try:
        name = words.backbone or catalog.facts(home, words.dataset).backbone
        weights = backbones.weights_of(home, probing.facts(home, registry.BACKBONES, name))
    except OrchError:  # the sweep itself will say what is wrong
        return None, None
    return registry.version(registry.BACKBONES, name), weights.digest if weights else None
