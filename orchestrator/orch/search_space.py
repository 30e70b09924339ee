"""What a sweep searches: what its strategy offers, a recipe starts from and the user states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from orch import registry, space
from orch.contracts import (
    BackboneFacts,
    DatasetFacts,
    Option,
    Parameter,
    Problem,
    Recipe,
    Strategy,
)
from orch.errors import PluginError, UsageError, nearest
from orch.space import Choice, Domain, Fixed, Int, Log, Uniform, Value

FROZEN = "frozen_layers"
BUDGET = ("epochs", "head_epochs")  # how long to train: the sweep says it, not a recipe


# ── parameters ──────────────────────────────────────────────────────────────────────────────


def starting_recipe(problem: Problem, strategy: str) -> Recipe | None:
    """The recipe that a sweep starts from: the dataset's first with its strategy and backbone."""
    fitting = (
        recipe
        for recipe in problem.dataset.recipes
        if (recipe.strategy, recipe.backbone) == (strategy, problem.backbone.name)
    )
    return next(fitting, None)


def parameters(strategy: Strategy, problem: Problem) -> list[Parameter]:
    """A strategy's parameters, beginning where the dataset's recipe for it does.

    How long to train stays the strategy's default, since a recipe's epochs are a budget for
    one run. A searched range that lacks the recipe's value is widened to it.

    Raises:
        PluginError: the recipe names a parameter that there is not, or a value out of range.
    """
    recipe = starting_recipe(problem, strategy.facts.name)
    offered = _offered(strategy, problem)
    if recipe is None:
        return offered
    check_recipe(recipe, offered)
    start = {name: value for name, value in recipe.params.items() if name not in BUDGET}
    return [_from(each, start.get(each.name, each.default)) for each in offered]


def reproduced(
    strategy: Strategy, problem: Problem, recipe: Recipe, most_epochs: int | None
) -> list[Parameter]:
    """A strategy's parameters, each fixed as a recipe says; no stage longer than `most_epochs`.

    Raises:
        PluginError: as `parameters`.
    """
    offered = _offered(strategy, problem)
    check_recipe(recipe, offered)
    found: list[Parameter] = []
    for each in offered:
        value = recipe.params.get(each.name, each.default)
        if most_epochs is not None and each.name in BUDGET:
            value = min(most_epochs, int(value))
        found.append(replace(each, default=value, search=Fixed(value)))
    return found


def _offered(strategy: Strategy, problem: Problem) -> list[Parameter]:
    """What a strategy offers, each default and searched range within what it allows itself."""
    name = strategy.facts.name
    with registry.blaming("strategy", name):
        offered = list(strategy.parameters(problem))
        for each in offered:
            _check_parameter(name, each)
    return offered


def _check_parameter(strategy: str, offered: Parameter) -> None:
    allowed = space.render(offered.allowed)
    default = space.render_value(offered.default)
    if not space.contains(offered.allowed, offered.default):
        said = f"the default {default}"
    elif not space.within(offered.search, offered.allowed):
        said = f"{space.render(offered.search)} to search"
    else:
        return
    raise PluginError(
        f"the strategy {strategy!r} gives {offered.name} {said}, which is outside {allowed}, what "
        "it allows itself; nothing was started",
        f"orch plugins check {strategy}",
    )


def check_recipe(recipe: Recipe, offered: Iterable[Parameter]) -> None:
    """Check that a recipe's parameters are those of its strategy, and in range.

    Raises:
        PluginError: naming the first that is not.
    """
    known = {each.name: each for each in offered}
    for name, value in recipe.params.items():
        if name not in known or not space.contains(known[name].allowed, value):
            raise PluginError(
                f"the recipe {recipe.name!r} says {name}={space.render_value(value)}, "
                f"which {recipe.strategy} does not take{nearest(name, known)}"
            )


def _from(parameter: Parameter, value: Value) -> Parameter:
    return replace(parameter, default=value, search=_widened(parameter.search, value))


def _widened(domain: Domain, value: Value) -> Domain:
    if space.contains(domain, value):
        return domain
    match domain:
        case Fixed():
            return Fixed(value)
        case Choice(values):
            return Choice((*values, value))
        case Int(low, high):
            return Int(min(low, int(value)), max(high, int(value)))
        case Log(low, high) | Uniform(low, high):
            return type(domain)(min(low, float(value)), max(high, float(value)))


def merge(
    strategy: str,
    offered: Iterable[Parameter],
    stated: Mapping[str, Domain],
    backbone: BackboneFacts,
) -> tuple[dict[str, Domain], dict[str, Value]]:
    """The search space, and the configuration that is tried first.

    Raises:
        UsageError: the user states a parameter that there is not, or a range that is not allowed.
    """
    known = {each.name: each for each in offered}
    for name, domain in stated.items():
        if name not in known:
            raise UsageError(
                f"{strategy} has no parameter {name!r}{nearest(name, known)}",
                f"orch strategies show {strategy}",
            )
        _check_range(known[name], domain)
    domains = {name: stated.get(name, each.search) for name, each in known.items()}
    start = {name: each.default for name, each in known.items()}
    if FROZEN in domains:
        domains[FROZEN] = snap(domains[FROZEN], backbone)
        start[FROZEN] = backbone.canonical(int(start[FROZEN]))
    return domains, {name: _first(domains[name], start[name]) for name in domains}


def _check_range(parameter: Parameter, domain: Domain) -> None:
    if not space.within(domain, parameter.allowed):
        raise UsageError(
            f"{parameter.name}={space.render(domain)} is not within "
            f"{space.render(parameter.allowed)}, which is allowed ({parameter.help})",
            f"-S {parameter.name}={space.render_value(parameter.default)}",
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


def parse_domain(name: str, text: str) -> Domain:
    """Parse one `-S name=text`, naming the parameter where it fails."""
    try:
        return space.parse(text)
    except space.SpaceError as error:
        raise UsageError(f"{name}: {error.message}", error.hint) from None


# ── options of the dataset ──────────────────────────────────────────────────────────────────


def options(facts: DatasetFacts, stated: Mapping[str, str]) -> dict[str, Value]:
    """The options of a dataset that apply, with their values: what was stated, or the default.

    Raises:
        UsageError: one that there is not, that does not apply, or with an impossible value.
    """
    known = {option.name: option for option in facts.options}
    for name in stated:
        if name not in known:
            hint = f"its options: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{facts.name} has no option {name!r}{nearest(name, known)}", hint)
    values = {name: _value_of(option, stated.get(name)) for name, option in known.items()}
    idle = {name for name, option in known.items() if not _applies(option, values)}
    for name in sorted(idle & stated.keys()):
        needed = " ".join(f"{n}={v}" for n, v in known[name].only_with.items())
        raise UsageError(f"the option {name} has no effect here", f"it goes with {needed}")
    return {name: value for name, value in values.items() if name not in idle}


def _applies(option: Option, values: Mapping[str, Value]) -> bool:
    return all(values[name] == value for name, value in option.only_with.items())


def _value_of(option: Option, text: str | None) -> Value:
    """A value of the default's type, so that one choice is written in one way only."""
    if text is None:
        return option.default
    domain = parse_domain(option.name, text)
    if not isinstance(domain, Fixed) or not space.contains(option.allowed, domain.value):
        raise UsageError(
            f"{option.name}={text} is not possible: {space.render(option.allowed)} is allowed",
            f"{option.name} is {option.help}",
        )
    return type(option.default)(domain.value)
