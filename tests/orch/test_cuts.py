from __future__ import annotations

import pytest

from orch.contracts import (
    BackboneFacts,
    Head,
    ImageInput,
    LayerFacts,
    Optimizer,
    Plan,
    Stage,
)
from orch.testing import TINY_BACKBONE
from orch.training import cuts
from orch.training.cuts import Cut


def facts(*kinds: str, at: tuple[int, ...]) -> BackboneFacts:
    """A backbone of layers "kind" or "kind:weights", that can be cut `at` these counts."""
    layers = []
    for number, kind in enumerate(kinds):
        name, _, weights = kind.partition(":")
        layers.append(LayerFacts(f"{name.lower()}{number}", name, int(weights or 0)))
    return BackboneFacts("made", 32, 32, tuple(layers), at, at)


# Layers 3 to 5 stand beside one another: two tensors cross every place inside.
BRANCHED = facts(
    "InputLayer", "Conv2D:9", "ReLU", "Conv2D:9", "Conv2D:9", "Add", "Conv2D:9", "ReLU",
    at=(0, 3, 6, 8),
)  # fmt: skip


# ── counts that freeze the same weights ─────────────────────────────────────────────────────


@pytest.mark.parametrize(("frozen", "canonical"), [(0, 0), (1, 0), (2, 3), (3, 3), (4, 5), (5, 5)])
def test_a_count_stands_for_all_that_freeze_the_same_weights(frozen: int, canonical: int) -> None:
    assert TINY_BACKBONE.canonical(frozen) == canonical


def test_a_canonical_count_stands_for_itself() -> None:
    for backbone in (TINY_BACKBONE, BRANCHED):
        for frozen in range(len(backbone.layers) + 1):
            canonical = backbone.canonical(frozen)
            assert backbone.canonical(canonical) == canonical
            assert _weights(backbone, canonical) == _weights(backbone, frozen)


def test_without_weights_nothing_can_be_frozen() -> None:
    backbone = facts("InputLayer", "ReLU", "ReLU", at=(0,))
    assert [backbone.canonical(frozen) for frozen in range(4)] == [0, 0, 0, 0]


def _weights(backbone: BackboneFacts, frozen: int) -> list[str]:
    return [layer.name for layer in backbone.layers[:frozen] if layer.parameters]


# ── where to cut ────────────────────────────────────────────────────────────────────────────


def test_nothing_frozen_is_no_cut() -> None:
    assert cuts.choose(TINY_BACKBONE, 0) == Cut(0, "none", "nothing is frozen")


def test_all_frozen_is_cut_at_the_end() -> None:
    assert cuts.choose(TINY_BACKBONE, 5) == Cut(5, "pool2", "all frozen layers")
    assert cuts.choose(BRANCHED, 8) == Cut(8, "relu7", "all frozen layers")


def test_a_cut_is_where_the_frozen_layers_end() -> None:
    assert cuts.choose(TINY_BACKBONE, 3) == Cut(3, "pool1", "all frozen layers")


@pytest.mark.parametrize("frozen", [4])
def test_a_cut_snaps_back_to_where_one_tensor_crosses(frozen: int) -> None:
    cut = cuts.choose(BRANCHED, frozen)
    assert (cut.layers, cut.name) == (3, "relu2")
    assert cut.reason == "several tensors cross the layers after it"


def test_no_place_before_the_frozen_end_is_no_cut() -> None:
    backbone = facts("InputLayer", "Conv2D:9", "Conv2D:9", "Add", at=(0, 4))
    assert cuts.choose(backbone, 2) == Cut(0, "none", "no single tensor to store")


@pytest.mark.parametrize("kind", sorted(cuts.RANDOM_LAYERS))
def test_a_random_layer_stops_the_cut(kind: str) -> None:
    backbone = facts("InputLayer", "Conv2D:9", "ReLU", kind, "Conv2D:9", "ReLU", at=(0, 3, 4, 6))
    assert cuts.choose(backbone, 6) == Cut(
        3, "relu2", f"the layer {kind.lower()}3 after it is random"
    )


def test_a_random_layer_behind_the_frozen_ones_stops_nothing() -> None:
    backbone = facts("InputLayer", "Conv2D:9", "ReLU", "Conv2D:9", "Dropout", at=(0, 3, 5))
    assert cuts.choose(backbone, 3) == Cut(3, "relu2", "all frozen layers")


def test_a_cut_never_holds_a_random_layer_nor_one_that_trains() -> None:
    backbone = facts(
        "InputLayer", "Conv2D:9", "Dropout", "Conv2D:9", "ReLU", "Conv2D:9", at=(0, 2, 3, 5, 6)
    )
    for frozen in range(len(backbone.layers) + 1):
        cut = cuts.choose(backbone, frozen)
        assert cut.layers in backbone.cuts
        assert cut.layers <= 2
        assert _weights(backbone, cut.layers) == _weights(backbone, min(frozen, cut.layers))


def test_a_cut_takes_in_the_layers_without_weights_behind_it() -> None:
    assert cuts.choose(TINY_BACKBONE, 2).layers == 3
    assert cuts.choose(TINY_BACKBONE, 4).layers == 5


def test_a_random_layer_at_the_beginning_is_the_reason() -> None:
    backbone = facts("InputLayer", "GaussianNoise", "Conv2D:9", at=(0, 3))
    cut = cuts.choose(backbone, 3)
    assert cut.layers == 0
    assert "gaussiannoise1" in cut.reason


def test_what_is_planned_keeps_to_what_the_sweep_stores() -> None:
    stage = Stage(5, Optimizer(), epochs=1, batch_size=4)
    plan = Plan(ImageInput((32, 32)), Head(), (stage,))
    for stored, name in ((None, "pool2"), ((3, 5), "pool2"), ((3,), "pool1"), ((), "none")):
        assert cuts.planned(TINY_BACKBONE, plan, stored).name == name
