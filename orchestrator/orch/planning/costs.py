"""What a sweep will cost: which features are worth storing, and the time with and without them.

The gain of a cut is the time that every epoch of every trial behind it saves, less the time to
fill it; where not all fit into the store, those go first that save most for a byte (Dantzig's
greedy rule for knapsacks, 1957).
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orch import plans
from orch.contracts import BackboneFacts, Plan, Problem, Strategy
from orch.search_space import FROZEN
from orch.space import Choice, Domain, Fixed, Int, Value
from orch.training import cuts
from orch.training.cuts import Cut
from orch.training.timing import Costs

MOST_ORDERS = 5  # cuts whose orders of filling are all looked at


@dataclass(frozen=True)
class Feature:
    """One cut that trials of a sweep need: what it takes, what it gives, and whether it is kept.

    `saved` are the seconds of all trials that it spares, `fill` those it costs.
    """

    layers: int
    name: str
    bytes: int
    fill: float
    saved: float
    kept: bool


@dataclass(frozen=True)
class Expected:
    """Seconds that a sweep's trials are expected to take, on all its workers together.

    `start` is what each worker spends on importing Keras and on tracing, and `fill` what filling
    an empty store takes; both are part of `stored`. `online` is the time when nothing is stored.
    """

    features: tuple[Feature, ...]
    start: float
    fill: float
    stored: float
    online: float
    reason: str

    @property
    def stored_cuts(self) -> list[int] | None:
        """The cuts to store; None where all are."""
        if all(each.kept for each in self.features):
            return None
        return [each.layers for each in self.features if each.kept]


def variants(
    strategy: Strategy, domains: Mapping[str, Domain], first: Mapping[str, Value], problem: Problem
) -> list[Plan]:
    """A plan for each frozen depth that a sweep may try; each is taken to be equally likely."""
    depths = _values(domains.get(FROZEN), problem.backbone)
    return [plans.make(strategy, {**first, **depth}, problem) for depth in depths]


def _values(domain: Domain | None, facts: BackboneFacts) -> list[dict[str, Value]]:
    match domain:
        case Choice(values):
            return [{FROZEN: value} for value in values]
        case Fixed(value):
            return [{FROZEN: value}]
        case Int(low, high):
            return [{FROZEN: cut} for cut in facts.cuts if low <= cut <= high] or [{FROZEN: low}]
        case _:
            return [{}]


def expect(
    variants: Sequence[Plan],
    facts: BackboneFacts,
    known: Mapping[int, Costs],
    examples: tuple[int, int],
    trials: int,
    workers: int,
    room: int,
) -> Expected:
    """Choose what to store, and say what the sweep will take.

    Args:
        variants: plans of trials, each as likely as the others.
        facts: the network that is cut.
        known: what each cut of these plans costs here.
        examples: how many to train on and to validate on.
        trials: how many will run, each to its last epoch.
        workers: how many run at once.
        room: bytes that the store can take on.
    """
    of_plans = [cuts.of_plan(facts, plan) for plan in variants]
    share = trials / len(variants)
    features = _features(variants, of_plans, known, examples, share)
    kept = _fitting(features, room)
    fill = _filling([each for each in features if each.layers in kept])
    used = {layers for plan in variants for layers in priced(facts, plan)}
    start = max(each.start for each in known.values()) + sum(known[cut].tracing for cut in used)
    both = [
        _seconds(plan, priced(facts, plan), stages, known, examples, kept)
        for plan, stages in zip(variants, of_plans, strict=True)
    ]
    return Expected(
        features=tuple(replace(each, kept=each.layers in kept) for each in features),
        start=start,
        fill=fill / workers,
        stored=start + (fill + share * sum(stored for stored, _ in both)) / workers,
        online=start + share * sum(online for _, online in both) / workers,
        reason="" if features else of_plans[0][0].reason,
    )


def _features(
    variants: Sequence[Plan],
    of_plans: Sequence[Sequence[Cut]],
    known: Mapping[int, Costs],
    examples: tuple[int, int],
    share: float,
) -> list[Feature]:
    """Every cut that is legal for some stage of some plan, shallow ones first."""
    found: dict[int, Feature] = {}
    count = sum(examples)
    for plan, stages in zip(variants, of_plans, strict=True):
        for stage, cut in zip(plan.stages, stages, strict=True):
            if cut.layers:
                costs = known[cut.layers]
                saved = share * stage.epochs * count * costs.before
                new = Feature(
                    cut.layers, cut.name, count * costs.bytes, count * costs.before, 0.0, False
                )
                former = found.get(cut.layers, new)
                found[cut.layers] = replace(former, saved=former.saved + saved)
    return [found[layers] for layers in sorted(found)]


def _fitting(features: Sequence[Feature], room: int) -> set[int]:
    """The cuts to store: those that give more than they cost, best per byte first."""
    worth = [each for each in features if each.saved > each.fill]
    kept: set[int] = set()
    for each in sorted(worth, key=lambda each: (each.fill - each.saved) / each.bytes):
        if each.bytes <= room:
            kept.add(each.layers)
            room -= each.bytes
    return kept


def _filling(features: Sequence[Feature]) -> float:
    """Seconds to fill these: each from the deepest of the others that is there, in any order."""
    if len(features) > MOST_ORDERS:
        return sum(each.fill for each in features) / 2 + max(each.fill for each in features) / 2
    orders = list(itertools.permutations(features))
    return statistics.mean(_in_order(order) for order in orders) if features else 0.0


def _in_order(features: Sequence[Feature]) -> float:
    total, there = 0.0, list[Feature]()
    for each in features:
        shallower = [other.fill for other in there if other.layers < each.layers]
        total += each.fill - max(shallower, default=0.0)
        there.append(each)
    return total


def priced(facts: BackboneFacts, plan: Plan) -> list[int]:
    """The cut at which each stage is priced: where training begins, be anything stored or not."""
    return [cuts.choose(facts, frozen).layers for frozen in cuts.trained_from(plan)]


def _seconds(
    plan: Plan,
    prices: Sequence[int],
    stages: Sequence[Cut],
    known: Mapping[int, Costs],
    examples: tuple[int, int],
    kept: set[int],
) -> tuple[float, float]:
    """Seconds of a trial's epochs when the `kept` cuts are stored, and when nothing is."""
    train, validation = examples
    stored = online = 0.0
    for stage, price, cut in zip(plan.stages, prices, stages, strict=True):
        costs = known[price]
        epoch = train * costs.train + validation * costs.judge
        whole = epoch + (train + validation) * costs.before
        stored += stage.epochs * (epoch if cut.layers in kept else whole)
        online += stage.epochs * whole
    return stored, online
