"""From the words of a command to a sweep that is complete, checked and frozen."""

from __future__ import annotations

import hashlib
import re
import tomllib
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from orch import catalog, registry, space
from orch.catalog import Installed
from orch.contracts import (
    BackboneFacts,
    DatasetFacts,
    Option,
    Parameter,
    Plan,
    Problem,
    Progress,
    Recipe,
    Split,
    Strategy,
)
from orch.errors import PluginError, UsageError, nearest
from orch.home import Home
from orch.settings import Pruner, Sampler, Settings
from orch.space import Choice, Domain, Fixed, Int, Value
from orch.training import backbones, examples, models
from orch.trials import Objective, TrialSpec

FROZEN = "frozen_layers"
BUDGET = ("epochs", "head_epochs")  # how long to train: the sweep says it, not a recipe
METRICS: Mapping[str, str] = {
    "val_accuracy": "maximize",
    "val_loss": "minimize",
    "accuracy": "maximize",
    "loss": "minimize",
}


@dataclass(frozen=True)
class SweepRequest:
    """What the user said; None where nothing was said. A recipe fixes every parameter."""

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
            strategy=self.strategy,
            params=params,
            objective=self.objective,
            seed=seed,
            attempt=attempt,
        )

    def to_json(self) -> dict[str, Any]:
        """A document of plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SweepSpec:
        """Read what `to_json` wrote."""
        content: dict[str, Any] = {**document, "objective": Objective(**document["objective"])}
        return cls(**content)


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep that is ready to start, and what its first trial will do."""

    spec: SweepSpec
    installed: Installed
    problem: Problem
    strategy: Strategy
    first_plan: Plan


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
    if request.limit is not None and request.limit < 1:
        raise UsageError(f"--limit {request.limit} leaves no example", "give 1 or more")
    options = _options(registry.load_dataset(request.dataset).facts, request.options)
    dataset = registry.load_dataset(request.dataset, options)
    strategy = registry.load_strategy(request.strategy)
    backbone = request.backbone or dataset.facts.backbone
    backbones.check_name(backbone)
    stated = {name: parse_domain(name, text) for name, text in request.space.items()}
    installed = ensure_dataset(home, request.dataset, progress)
    splits = catalog.open_splits(home, request.dataset, options)
    limit = _limit(request.limit, splits)
    chosen = examples.select(splits, limit)
    progress(f"reading the layers of {backbone}", 0, None)
    facts = backbones.describe(home, backbone)
    problem = Problem(dataset.facts, facts, len(chosen[0].indices))
    domains, first = _space(strategy, problem, stated, request)
    first_plan = _first_plan(strategy, first, problem)
    weights = backbones.ensure_weights(home, backbone, settings.weights_dir, progress)
    spec = SweepSpec(
        id=uuid.uuid4().hex[:12],
        name=request.name or f"{request.dataset}-{request.strategy}",
        dataset=request.dataset,
        dataset_digest=catalog.digest(installed, options),
        limit=limit,
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
        dataset_options=options,
    )
    return PlannedSweep(spec, installed, problem, strategy, first_plan)


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
    return catalog.install(home, name, None, progress)


def parse_domain(name: str, text: str) -> Domain:
    """Parse one `-S name=text`, naming the parameter where it fails."""
    try:
        return space.parse(text)
    except space.SpaceError as error:
        raise UsageError(f"{name}: {error.message}", error.hint) from None


def _objective(metric: str) -> Objective:
    if metric not in METRICS:
        raise UsageError(f"no metric is called {metric!r}{nearest(metric, METRICS)}")
    return Objective(metric, "minimize" if METRICS[metric] == "minimize" else "maximize")


def _options(facts: DatasetFacts, stated: Mapping[str, str]) -> dict[str, Value]:
    """Every option of a dataset with its value: what the user stated, or its default."""
    known = {option.name: option for option in facts.options}
    for name in stated:
        if name not in known:
            hint = f"its options: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{facts.name} has no option {name!r}{nearest(name, known)}", hint)
    return {name: _value_of(option, stated.get(name)) for name, option in known.items()}


def _value_of(option: Option, text: str | None) -> Value:
    if text is None:
        return option.default
    domain = parse_domain(option.name, text)
    if not isinstance(domain, Fixed) or not space.contains(option.allowed, domain.value):
        raise UsageError(
            f"{option.name}={text} is not possible: {space.render(option.allowed)} is allowed",
            f"{option.name} is {option.help}",
        )
    return domain.value


def starting_recipe(facts: DatasetFacts, strategy: str) -> Recipe | None:
    """The recipe that a sweep over a dataset starts from: the first that uses its strategy."""
    return next((each for each in facts.recipes if each.strategy == strategy), None)


def _start(request: SweepRequest, facts: DatasetFacts) -> dict[str, Value]:
    """Where the sweep starts: the recipe to reproduce, or one's values but for its epochs.

    How long to train is the sweep's to say: a recipe's epochs are a budget for one run.
    """
    if request.recipe is not None:
        return dict(request.recipe.params)
    recipe = starting_recipe(facts, request.strategy)
    return {n: v for n, v in recipe.params.items() if n not in BUDGET} if recipe else {}


def _space(
    strategy: Strategy, problem: Problem, stated: Mapping[str, Domain], request: SweepRequest
) -> tuple[dict[str, Domain], dict[str, Value]]:
    """Merge what the strategy searches with what the user stated; also the first configuration."""
    start = _start(request, problem.dataset)
    parameters = {
        parameter.name: replace(parameter, default=start.get(parameter.name, parameter.default))
        for parameter in strategy.parameters(problem)
    }
    for name, domain in stated.items():
        if name not in parameters:
            raise UsageError(
                f"{strategy.facts.name} has no parameter {name!r}{nearest(name, parameters)}",
                f"orch strategies show {strategy.facts.name}",
            )
        _check_range(parameters[name], domain)
    domains = {
        name: stated[name] if name in stated else _domain(parameter, request.recipe is not None)
        for name, parameter in parameters.items()
    }
    if FROZEN in domains:
        domains[FROZEN] = snap(domains[FROZEN], problem.backbone)
    first = {name: _first(domains[name], parameters[name].default) for name in domains}
    return domains, first


def _domain(parameter: Parameter, fixed: bool) -> Domain:
    """What is searched of a parameter that the user said nothing of."""
    if fixed or isinstance(parameter.search, Fixed):
        return Fixed(parameter.default)
    return parameter.search


def _check_range(parameter: Parameter, domain: Domain) -> None:
    if not space.within(domain, parameter.allowed):
        raise UsageError(
            f"{parameter.name}={space.render(domain)} is out of range: "
            f"{space.render(parameter.allowed)} is allowed",
            f"{parameter.name} is {parameter.help}",
        )


def _first(domain: Domain, default: Value) -> Value:
    """The default where the domain has it, else the value of the domain that comes first."""
    return default if space.contains(domain, default) else space.extremes(domain)[0]


def snap(domain: Domain, backbone: BackboneFacts) -> Domain:
    """Replace counts of frozen layers by the canonical ones, so that none is tried twice."""
    if isinstance(domain, Int):
        domain = Choice(tuple(range(domain.low, domain.high + 1)))
    if isinstance(domain, Choice):
        counts = sorted({backbone.canonical(int(value)) for value in domain.values})
        return Choice(tuple(counts)) if len(counts) > 1 else Fixed(counts[0])
    if isinstance(domain, Fixed):
        return Fixed(backbone.canonical(int(domain.value)))
    return domain


def _first_plan(strategy: Strategy, first: Mapping[str, Value], problem: Problem) -> Plan:
    try:
        plan = strategy.plan(first, problem)
    except Exception as error:
        raise PluginError(
            f"the strategy {strategy.facts.name!r} raised {type(error).__name__}: {error}",
            "nothing was started",
        ) from error
    least = problem.backbone.minimum_size
    if min(models.network_size(plan.image)) < least:
        raise UsageError(
            f"{problem.backbone.name} needs images of at least {least} × {least} pixels, "
            f"these become {' × '.join(map(str, models.network_size(plan.image)))}",
            f"-S image_size={least} -S upsample=1",
        )
    return plan


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
    **dict.fromkeys(("limit", "trials", "seed"), int),
    "space": dict,
    "options": dict,
}

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?\Z")


def parse_duration(text: str) -> float:
    """Read "2h", "1h30m", "90s" or a number of seconds.

    Raises:
        UsageError: anything else.
    """
    found = _DURATION.match(text.strip())
    if not text.strip() or found is None:
        raise UsageError(f"--time {text!r} is no duration", "write 2h, 1h30m or 90s")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise UsageError(f"--time {text} leaves no time", "write 2h, 1h30m or 90s")
    return float(total)
