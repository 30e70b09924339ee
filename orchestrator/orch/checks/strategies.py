"""What every strategy plugin promises."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args, get_type_hints

from orch import own_functions, registry, space
from orch.checks import TINY_BACKBONE, Check, Fault, imports
from orch.contracts import (
    API,
    DatasetFacts,
    Head,
    Optimizer,
    Parameter,
    Plan,
    Problem,
    Schedule,
    Stage,
    Strategy,
    StrategyFacts,
    Value,
)
from orch.errors import PluginError
from orch.trials import to_json

TEN_CLASSES = DatasetFacts(
    name="ten-classes",
    title="Ten classes",
    classes=tuple("0123456789"),
    image_size=(32, 32),
    licence="none",
    homepage="https://example.org",
    backbone="tiny",
)
PROBLEM = Problem(TEN_CLASSES, TINY_BACKBONE, 1000)
Corner = Mapping[str, Value]


@dataclass(frozen=True)
class StrategySubject(imports.Imported):
    """A strategy plugin to check, and the problem that it plans for."""

    problem: Problem = PROBLEM

    @cached_property
    def strategy(self) -> Strategy:
        """The plugin."""
        return registry.load_strategy(self.plugin.name)

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """What it offers for the problem."""
        return tuple(self.strategy.parameters(self.problem))

    def plans(self) -> Iterator[tuple[str, Plan]]:
        """A plan for the defaults and for each corner of the searched space, and which it is."""
        for words, corner in corners(self.parameters):
            yield words, self.strategy.plan(corner, self.problem)


def api(subject: StrategySubject) -> None:
    """It says the supported `api` and has what the protocol asks for."""
    if subject.strategy.api != API:
        raise Fault(registry.other_api(subject.strategy.api))


def name(subject: StrategySubject) -> None:
    """Its facts carry the entry point's name, and a title."""
    facts = subject.strategy.facts
    if type(facts) is not StrategyFacts:
        raise Fault(f"facts is {type(facts).__name__}, not StrategyFacts")
    if facts.name != subject.plugin.name:
        raise Fault(f"facts.name is {facts.name!r}, its entry point says {subject.plugin.name!r}")
    if not facts.title:
        raise Fault("facts.title is empty")


def check_parameters(parameters: Iterable[Parameter]) -> None:
    """Names differ, defaults and searched spaces are allowed, each has one line of help."""
    known: set[str] = set()
    for each in parameters:
        allowed = space.render(each.allowed)
        if each.name in known:
            raise Fault(f"parameters() has {each.name!r} twice")
        if not space.contains(each.allowed, each.default):
            raise Fault(f"{each.name}: the default {each.default!r} is outside {allowed}")
        if not space.within(each.search, each.allowed):
            raise Fault(f"{each.name}: searched is {space.render(each.search)}, outside {allowed}")
        if not each.help or "\n" in each.help:
            raise Fault(f"{each.name}: it has no help of one line")
        known.add(each.name)


def corners(parameters: Iterable[Parameter]) -> Iterator[tuple[str, Corner]]:
    """The defaults, and each extreme of each searched parameter, with the words for it."""
    offered = tuple(parameters)
    default = {each.name: each.default for each in offered}
    yield "with its defaults", default
    for each in offered:
        for value in space.extremes(each.search):
            yield f"with {each.name}={space.render_value(value)}", {**default, each.name: value}


def check_plan(plan: Plan) -> None:
    """A plan has stages that train something, names what there is, and is plain data."""
    given: Any = plan
    if not isinstance(given, Plan):
        raise Fault(f"plan() gave {type(given).__name__}, not a Plan")
    if not plan.stages:
        raise Fault("the plan has no stage")
    for number, stage in enumerate(plan.stages, start=1):
        _check_stage(f"stage {number}", stage)
    _check_words("the head", plan.head, Head)
    if not 0 <= plan.head.dropout < 1:
        raise Fault(f"the head drops {plan.head.dropout:g} of the features; 0 to 1, 1 not included")
    try:
        json.dumps(to_json(own_functions.signed(plan, "the strategy")))
    except PluginError as error:
        raise Fault(error.message) from error
    except (TypeError, ValueError) as error:
        raise Fault(f"the plan is not plain data: {error}") from error


def _check_stage(where: str, stage: Stage) -> None:
    if stage.epochs < 1 or stage.batch_size < 1:
        raise Fault(
            f"{where} trains {stage.epochs} epochs with batches of {stage.batch_size}: "
            "1 is the least"
        )
    rate = stage.optimizer.learning_rate
    if not 0 < rate < math.inf:
        raise Fault(f"{where} has the learning rate {rate:g}, which must be above 0")
    _check_words(f"{where}: optimizer", stage.optimizer, Optimizer)
    _check_words(f"{where}: schedule", stage.schedule, Schedule)


def _check_words(where: str, part: object, kind: type[object]) -> None:
    """Fields that take one of some words have one of them."""
    for field, hint in get_type_hints(kind).items():
        words = [each for each in get_args(hint) if isinstance(each, str)]
        value = getattr(part, field)
        if words and value not in words:
            raise Fault(f"{where} has {field}={value!r}; known: {', '.join(words)}")


def check_fits(plan: Plan, problem: Problem) -> None:
    """A plan freezes layers that there are, and its images are as large as the backbone needs."""
    layers = len(problem.backbone.layers)
    for number, stage in enumerate(plan.stages, start=1):
        if not 0 <= stage.frozen_layers <= layers:
            raise Fault(
                f"stage {number} freezes {stage.frozen_layers} layers of a backbone of {layers}"
            )
    size, least = min(plan.image.size) * plan.image.upsample, problem.backbone.minimum_size
    if size < least:
        raise Fault(f"images become {size} pixels wide or high, the backbone needs {least}")


def parameters(subject: StrategySubject) -> None:
    """As `check_parameters`."""
    check_parameters(subject.parameters)


def plans(subject: StrategySubject) -> None:
    """Every corner of the searched space has a plan that can be trained."""
    for words, corner in corners(subject.parameters):
        try:
            check_plan(subject.strategy.plan(corner, subject.problem))
        except Fault as fault:
            raise Fault(f"{words}: {fault.message}") from fault
        except Exception as error:
            raise Fault(f"{words}: plan() raised {type(error).__name__}: {error}") from error


def fits(subject: StrategySubject) -> None:
    """Every plan stays within the backbone."""
    for words, plan in subject.plans():
        try:
            check_fits(plan, subject.problem)
        except Fault as fault:
            raise Fault(f"{words}: {fault.message}") from fault


def same_plan(subject: StrategySubject) -> None:
    """The same values give the same plan: no clock, no chance."""
    again = registry.load_strategy(subject.plugin.name)
    for words, corner in corners(subject.parameters):
        once = subject.strategy.plan(corner, subject.problem)
        if once != again.plan(corner, subject.problem):
            raise Fault(f"{words}: asked twice, plan() gave two different plans")


CHECKS: tuple[Check[StrategySubject], ...] = (
    *imports.CHECKS,
    Check("api", f"it says api = {API} and has facts, parameters and plan", api, "plugin", True),
    Check("name", "its facts carry the entry point's name, and a title", name, "plugin", True),
    Check("parameters", "defaults and searched spaces are allowed", parameters, "plugin", True),
    Check("plans", "every corner of its space has a plan to train", plans, "plugin", True),
    Check("fits", "every plan stays within the backbone", fits, "plugin"),
    Check("same-plan", "the same values give the same plan", same_plan, "plugin"),
)
