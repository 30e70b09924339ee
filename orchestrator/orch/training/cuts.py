"""Where the network may be cut: what lies before a cut is the same in every epoch.

A cut is legal when nothing before it trains or is random, and a single tensor crosses it.
"""

from __future__ import annotations

from dataclasses import dataclass

from orch.contracts import BackboneFacts

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


def choose(facts: BackboneFacts, frozen_layers: int) -> Cut:
    """The deepest legal cut for a network whose first `frozen_layers` layers are frozen."""
    quiet = next(
        (at for at, layer in enumerate(facts.layers) if layer.kind in RANDOM_LAYERS),
        len(facts.layers),
    )
    limit = min(frozen_layers, quiet)
    depth = max(cut for cut in facts.cuts if cut <= limit)
    if depth == 0:
        reason = "nothing is frozen" if frozen_layers == 0 else "no single tensor to store"
        return Cut(0, "none", reason)
    reason = (
        "all frozen layers"
        if depth == facts.canonical(frozen_layers)
        else (
            f"the layer {facts.layers[quiet].name} after it is random"
            if quiet < frozen_layers
            else "several tensors cross the layers after it"
        )
    )
    return Cut(depth, facts.layers[depth - 1].name, reason)
