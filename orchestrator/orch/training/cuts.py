"""Where the network may be cut: what lies before a cut is the same in every epoch.

A cut is legal when nothing before it trains or is random, and a single tensor crosses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from orch.contracts import Augmentation, BackboneFacts, Plan

RANDOM_LAYERS = frozenset(
    {
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "SpatialDropout2D",
        "StochasticDepth",
    }
)


@dataclass(frozen=True)
class Cut:
    """How many leading layers are computed once, and why it is not more."""

    layers: int
    name: str
    reason: str

    @classmethod
    def none(cls, reason: str) -> Cut:
        """No cut: the whole network runs, and why."""
        return cls(0, "none", reason)


def choose(facts: BackboneFacts, frozen_layers: int) -> Cut:
    """The deepest legal cut for a network whose first `frozen_layers` layers are frozen."""
    quiet = next(
        (at for at, each in enumerate(facts.layers) if each.random or each.kind in RANDOM_LAYERS),
        len(facts.layers),
    )
    frozen = facts.canonical(frozen_layers)
    depth = max(cut for cut in facts.cuts if cut <= min(frozen, quiet))
    name = facts.layers[depth - 1].name if depth else "none"
    if frozen == 0:
        return Cut(0, name, "nothing is frozen")
    if depth == frozen:
        return Cut(depth, name, "all frozen layers")
    if depth == 0 and frozen <= quiet:
        return Cut(0, name, "no single tensor to store")
    if quiet < frozen:
        return Cut(depth, name, f"the layer {facts.layers[quiet].name} after it is random")
    return Cut(depth, name, "several tensors cross the layers after it")


def among(cut: Cut, stored: Sequence[int] | None, facts: BackboneFacts) -> Cut:
    """The deepest cut up to `cut` that a sweep stores; None says that it stores every one."""
    if stored is None or cut.layers == 0 or cut.layers in stored:
        return cut
    why = f"storing {cut.name} costs more than it saves, or does not fit"
    depth = max((each for each in stored if each < cut.layers), default=0)
    return Cut(depth, facts.layers[depth - 1].name, why) if depth else Cut.none(why)


def planned(facts: BackboneFacts, plan: Plan, stored: Sequence[int] | None) -> Cut:
    """What the last stage of a plan is to start from in a sweep that stores these cuts."""
    return among(of_plan(facts, plan)[-1], stored, facts)


def trained_from(plan: Plan) -> list[int]:
    """For each stage, the number of leading layers that neither it nor one before it trains."""
    return list(accumulate((stage.frozen_layers for stage in plan.stages), min))


def of_plan(facts: BackboneFacts, plan: Plan) -> list[Cut]:
    """The cut of each stage of a plan: what an earlier stage trained is not the same for all."""
    own = plan.augmentation.layers
    if own is not None:
        why = f"the strategy's own augmentation, {own.name}, is taken to be random"
        return [Cut.none(why)] * len(plan.stages)
    if plan.augmentation != Augmentation():
        return [Cut.none("augmentation changes the examples in every epoch")] * len(plan.stages)
    return [choose(facts, frozen) for frozen in trained_from(plan)]
