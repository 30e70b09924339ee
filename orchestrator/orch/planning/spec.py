"""From the words of a command to a sweep that is complete, checked and frozen."""

from __future__ import annotations

import hashlib
import re
import tomllib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orch import catalog, installing, plans, probing, registry, search_space, space
from orch.catalog import Installed
from orch.contracts import (
    Parameter,
    Plan,
    Problem,
    Progress,
    Recipe,
    Split,
    Strategy,
)
from orch.errors import DataError, UsageError, nearest
from orch.home import Home
from orch.settings import Pruner, Sampler, Settings
from orch.space import Domain, Value
from orch.training import backbones, examples
from orch.training.examples import Selection
from orch.trials import Objective, TrialSpec

METRICS: Mapping[str, str] = {
    "val_accuracy": "maximize",
    "val_loss": "minimize",
    "accuracy": "maximize",
    "loss": "minimize",
}


@dataclass(frozen=True)
class SweepRequest:
    """What the user said; None where nothing was said.

    A recipe fixes every parameter; `most_epochs` shortens its stages.
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
    recipe: Recipe | None = None
    most_epochs: int | None = None


@dataclass(frozen=True)
class SweepSpec:
    """A sweep, complete: what is stored, and all that is needed to go on with it later."""

    id: str
    name: str
    dataset: str
    dataset_digest: str
    limit: int | None
    strategy: str
    backbone: str
    weights_digest: str
    space: Mapping[str, str]
    first: Mapping[str, Value]
    objective: Objective
    trials: int
    seconds: float | None
    sampler: Sampler
    pruner: Pruner
    seed: int
    dataset_options: Mapping[str, Value] = field(default_factory=dict[str, Value])
    keep: int = 3
    recipe: str | None = None
    shortened: bool = False
    stored_cuts: Sequence[int] | None = None
    classes: Sequence[str] = ()

    @property
    def board(self) -> str:
        """The group of results this sweep may be ranked among."""
        judged = examples.judged_by(self.dataset_digest, self.limit)
        text = f"{self.dataset} {judged} {self.objective.metric} {self.objective.direction}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def domains(self) -> dict[str, Domain]:
        """The search space."""
        return {name: space.parse(text) for name, text in self.space.items()}

    def trial(
        self, number: int, params: Mapping[str, Value], seed: int, attempt: int = 1
    ) -> TrialSpec:
        """One of its trials, as it travels to a worker."""
        return TrialSpec(
            sweep=self.id,
            number=number,
            dataset=self.dataset,
            dataset_options=self.dataset_options,
            dataset_digest=self.dataset_digest,
            limit=self.limit,
            backbone=self.backbone,
            weights_digest=self.weights_digest,
            strategy=self.strategy,
            params=params,
            objective=self.objective,
            seed=seed,
            attempt=attempt,
            keep=self.keep > 0,
            stored_cuts=self.stored_cuts,
            classes=self.classes,
        )

    def to_json(self) -> dict[str, Any]:
        """A document of plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SweepSpec:
        """Read what `to_json` wrote.

        Raises:
            DataError: this version of orch did not write it.
        """
        try:
            content: dict[str, Any] = {**document, "objective": Objective(**document["objective"])}
            return cls(**content)
        except (KeyError, TypeError) as error:
            which = str(document.get("id", ""))[:6]
            raise DataError(
                f"what is recorded of sweep {which or '?'} cannot be read: {error}; "
                "nothing was changed",
                "use the version of orch that it ran with",
            ) from error


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep that is ready to start, and what its first trial will do.

    `examples` counts those of each split, as the dataset's options divide them; `chosen` are
    those that are trained and validated on.
    """

    spec: SweepSpec
    installed: Installed
    examples: Mapping[str, int]
    chosen: tuple[Selection, Selection]
    problem: Problem
    strategy: Strategy
    first_plan: Plan


@dataclass(frozen=True)
class _Prepared:
    """What a request names, found and opened."""

    installed: Installed
    options: Mapping[str, Value]
    splits: Mapping[str, Split]
    limit: int | None
    chosen: tuple[Selection, Selection]
    problem: Problem
    strategy: Strategy
    offered: list[Parameter]


def plan_sweep(
    request: SweepRequest, settings: Settings, home: Home, progress: Progress
) -> PlannedSweep:
    """Check everything that can be checked before a trial starts; fetch what is missing.

    Raises:
        NotFoundError: no such dataset, strategy or backbone.
        UsageError: a space, limit or metric that makes no sense.
        DataError: data or weights are missing and cannot be fetched.
        PluginError: the strategy breaks its contract.
    """
    stated = {name: search_space.parse_domain(name, text) for name, text in request.space.items()}
    there = _prepare(request, home, progress, settings.plugin_timeout)
    problem, backbone = there.problem, there.problem.backbone.name
    domains, first = search_space.merge(request.strategy, there.offered, stated, problem.backbone)
    first_plan = plans.make(there.strategy, first, problem)
    weights = backbones.ensure_weights(home, backbone, settings.weights_dir, progress)
    spec = SweepSpec(
        id=uuid.uuid4().hex[:12],
        name=request.name or f"{request.dataset}-{request.strategy}",
        dataset=request.dataset,
        dataset_digest=catalog.digest(home, there.installed, there.options),
        limit=there.limit,
        strategy=request.strategy,
        backbone=backbone,
        weights_digest=weights.digest,
        space={name: space.render(domain) for name, domain in domains.items()},
        first=first,
        objective=_objective(request.metric),
        trials=settings.trials,
        seconds=request.seconds,
        sampler=settings.sampler,
        pruner=settings.pruner,
        seed=settings.seed,
        dataset_options=there.options,
        keep=settings.keep,
        recipe=request.name if request.recipe else None,
        shortened=there.limit is not None or request.most_epochs is not None,
        classes=list(problem.dataset.classes),
    )
    counts = {name: len(split.labels) for name, split in there.splits.items()}
    return PlannedSweep(
        spec, there.installed, counts, there.chosen, problem, there.strategy, first_plan
    )


def allowed_today(
    request: SweepRequest, settings: Settings, home: Home, progress: Progress
) -> dict[str, Domain]:
    """The parameters that the request's strategy has today with all that each may be, whatever
    the request's space says.

    Raises:
        NotFoundError, UsageError, DataError, PluginError: as `plan_sweep`.
    """
    there = _prepare(request, home, progress, settings.plugin_timeout)
    return {each.name: each.allowed for each in there.offered}


def _prepare(request: SweepRequest, home: Home, progress: Progress, patience: float) -> _Prepared:
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"--limit {request.limit} leaves no example", "give 1 or more")
    known = catalog.facts(home, request.dataset, patience)
    options = search_space.options(known, request.options)
    dataset = catalog.load(home, request.dataset, options)
    backbone = request.backbone or dataset.facts.backbone
    probing.facts(home, registry.STRATEGIES, request.strategy, patience)
    probing.facts(home, registry.BACKBONES, backbone, patience)
    strategy = registry.load_strategy(request.strategy)
    installed = ensure_dataset(home, request.dataset, progress)
    splits = catalog.open_splits(home, request.dataset, options)
    limit = _limit(request.limit, splits)
    chosen = examples.select(splits, limit)
    progress(f"reading the layers of {backbone}", 0, None)
    facts = backbones.describe(home, backbone)
    problem = Problem(dataset.facts, facts, len(chosen[0].indices))
    offered = _offered(strategy, problem, request)
    return _Prepared(installed, options, splits, limit, chosen, problem, strategy, offered)


def _offered(strategy: Strategy, problem: Problem, request: SweepRequest) -> list[Parameter]:
    if request.recipe is None:
        return search_space.parameters(strategy, problem)
    return search_space.reproduced(strategy, problem, request.recipe, request.most_epochs)


def _limit(asked: int | None, splits: Mapping[str, Split]) -> int | None:
    """None where the limit is no smaller than what there is, so that boards stay together."""
    there = sum(len(split.labels) for name, split in splits.items() if name != "test")
    return asked if asked is not None and asked < there else None


def ensure_dataset(home: Home, name: str, progress: Progress) -> Installed:
    """The dataset as installed; made or fetched now where that needs nobody's help.

    Raises:
        DataError: it cannot be fetched, or must be given by the user.
    """
    found = catalog.find(home, name)
    if found is not None:
        return found
    return installing.install(home, name, None, progress)


def _objective(metric: str) -> Objective:
    if metric not in METRICS:
        raise UsageError(f"no metric is called {metric!r}{nearest(metric, METRICS)}")
    return Objective(metric, "minimize" if METRICS[metric] == "minimize" else "maximize")


def read_file(path: Path) -> dict[str, Any]:
    """Read a sweep.toml: the options of `orch sweep` by name, and tables [space] and
    [options], which are the dataset's.

    Raises:
        UsageError: the file is missing, no TOML, or has a key that is no option.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    for key, value in document.items():
        if key not in FILE_KEYS:
            raise UsageError(f"{path} has {key!r}, which is no option{nearest(key, FILE_KEYS)}")
        if type(value) is not FILE_KEYS[key]:
            raise UsageError(
                f"{path}: {key} is {value!r}, which is not a {FILE_KEYS[key].__name__}"
            )
    return document


FILE_KEYS: Mapping[str, type] = {
    **dict.fromkeys(("dataset", "strategy", "backbone", "name", "metric", "time"), str),
    **dict.fromkeys(("sampler", "pruner"), str),
    **dict.fromkeys(("limit", "trials", "seed", "keep"), int),
    "space": dict,
    "options": dict,
}

_DURATION = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?\Z")


def parse_duration(text: str, option: str = "--time") -> float:
    """Read "2h", "1h30m", "90s" or a number of seconds.

    Raises:
        UsageError: anything else.
    """
    found = _DURATION.match(text.strip())
    if not text.strip() or found is None:
        raise UsageError(f"{option} {text!r} is no duration", "write 2h, 1h30m or 90s")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise UsageError(f"{option} {text} leaves no time", "write 2h, 1h30m or 90s")
    return float(total)
