"""Which features are worth storing, and what a sweep is expected to take."""

from __future__ import annotations

import pytest

from orch.contracts import (
    Augmentation,
    BackboneFacts,
    Head,
    ImageInput,
    LayerFacts,
    Optimizer,
    Plan,
    Stage,
)
from orch.planning import costs
from orch.training.timing import Costs

FACTS = BackboneFacts(
    name="three",
    image_size=32,
    minimum_size=32,
    layers=tuple(LayerFacts(name, "Conv2D", 10) for name in ("a", "b", "c")),
    cuts=(0, 1, 2, 3),
    stages=(0, 1, 2, 3),
)
# seconds per example: a layer forward takes 1 s, one that trains 3 s, a head 0.1 s
KNOWN = {
    cut: Costs(float(cut), 3.0 * (3 - cut) + 0.1, 3.0 - cut + 0.1, size, tracing=0.5, start=7.0)
    for cut, size in ((0, 3000), (1, 800), (2, 400), (3, 10))
}


def plan(*frozen: int, epochs: int = 2, augmented: bool = False) -> Plan:
    stages = tuple(Stage(each, Optimizer(), epochs=epochs, batch_size=4) for each in frozen)
    augmentation = Augmentation(flip=True) if augmented else Augmentation()
    return Plan(ImageInput((32, 32)), Head(), stages, augmentation)


def expect(
    plans: list[Plan], trials: int = 4, workers: int = 1, room: int = 10**9
) -> costs.Expected:
    return costs.expect(plans, FACTS, KNOWN, (8, 2), trials, workers, room)


def test_a_trial_behind_a_cut_pays_for_what_lies_behind_it() -> None:
    found = expect([plan(2)])
    (feature,) = found.features
    assert (feature.layers, feature.name, feature.bytes) == (2, "b", 4000)
    assert feature.fill == pytest.approx(10 * 2)
    assert feature.saved == pytest.approx(4 * 2 * 10 * 2)
    behind = 4 * 2 * (8 * 3.1 + 2 * 1.1)
    assert found.fill == pytest.approx(20)
    assert found.start == pytest.approx(7.0 + 0.5)
    assert found.stored == pytest.approx(7.5 + behind + 20)
    assert found.online == pytest.approx(7.5 + behind + 4 * 2 * 10 * 2)


def test_workers_share_the_time() -> None:
    one, two = expect([plan(2)]), expect([plan(2)], workers=2)
    assert two.start == one.start, "they start at the same time"
    assert two.stored - two.start == pytest.approx((one.stored - one.start) / 2)
    assert two.fill == pytest.approx(one.fill / 2)


def test_a_cut_that_is_used_once_for_one_epoch_is_not_worth_it() -> None:
    found = expect([plan(3, epochs=1)], trials=1)
    assert not found.features[0].kept
    assert found.stored == found.online
    assert expect([plan(3, epochs=2)], trials=1).features[0].kept


def test_what_saves_most_for_a_byte_is_stored_first() -> None:
    plans = [plan(1), plan(2), plan(3)]
    room = 10 * (400 + 10)
    found = expect(plans, trials=30, room=room)
    assert {each.layers: each.kept for each in found.features} == {1: False, 2: True, 3: True}
    assert all(each.kept for each in expect(plans, trials=30).features)
    assert not any(each.kept for each in expect(plans, trials=30, room=0).features)


def test_a_deeper_cut_is_computed_from_a_shallower_one() -> None:
    """In half of the orders layer 2 is there first, and layer 3 takes 1 s instead of 3."""
    found = expect([plan(2), plan(3)], trials=40)
    assert found.fill == pytest.approx(10 * ((2 + 1) + (3 + 2)) / 2)


def test_stages_share_the_store() -> None:
    found = expect([plan(3, 2)], trials=2)
    assert {each.layers for each in found.features} == {2, 3}
    assert found.stored < found.online


def test_augmentation_stores_nothing_and_says_why() -> None:
    found = expect([plan(2, augmented=True)])
    assert found.features == ()
    assert "augmentation" in found.reason
    assert found.stored == found.online
    assert found.online == expect([plan(2)]).online, "what is frozen trains no more than without"


def test_the_same_depth_in_two_plans_is_one_feature() -> None:
    found = expect([plan(2), plan(2)])
    assert len(found.features) == 1
    assert found.features[0].saved == expect([plan(2)]).features[0].saved
