from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orch.errors import DataError, UsageError
from orch.training import examples
from orch.training.arrays import ArrayStore


class Made:
    """A split whose images are made from their index; it counts what is read."""

    def __init__(self, labels: Any, size: tuple[int, int] = (4, 6)) -> None:
        self.labels = np.asarray(labels, np.int64)
        self.size = size
        self.read: list[int] = []

    def image(self, index: int) -> NDArray[np.uint8]:
        self.read.append(index)
        return np.full((*self.size, 3), index, np.uint8)


class Forbidden:
    """A split that must not be looked at."""

    @property
    def labels(self) -> NDArray[np.int64]:
        raise AssertionError("the labels of this split were read")

    def image(self, index: int) -> NDArray[np.uint8]:
        raise AssertionError("an image of this split was read")


LABELS = (
    st.lists(st.integers(10, 60), min_size=2, max_size=5)
    .flatmap(
        lambda counts: st.permutations([c for c, count in enumerate(counts) for _ in range(count)])
    )
    .map(lambda labels: np.array(labels, np.int64))
)


def counts(labels: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(labels[indices], minlength=labels.max() + 1)


# ── without a validation split ──────────────────────────────────────────────────────────────


@given(LABELS)
def test_training_and_validation_part_the_training_split(labels: NDArray[np.int64]) -> None:
    train, held = examples.select({"train": Made(labels), "test": Forbidden()}, None)
    assert (train.role, train.split) == ("train", "train")
    assert (held.role, held.split) == ("validation", "train")
    both = np.concatenate([train.indices, held.indices])
    assert np.array_equal(np.sort(both), np.arange(len(labels)))
    assert len(held.indices) == round(0.2 * len(labels))


@given(LABELS)
def test_both_are_stratified_within_rounding(labels: NDArray[np.int64]) -> None:
    train, held = examples.select({"train": Made(labels)}, None)
    share = len(held.indices) / len(labels)
    sizes = np.bincount(labels)
    assert np.abs(counts(labels, held.indices) - share * sizes).max() < 1 + 1e-9
    assert np.abs(counts(labels, train.indices) - (1 - share) * sizes).max() < 1 + 1e-9
    assert counts(labels, held.indices).min() >= 1


@given(LABELS, st.integers(0, 2**31))
def test_the_same_every_time_whatever_else_is_random(labels: NDArray[np.int64], seed: int) -> None:
    first = examples.select({"train": Made(labels)}, None)
    np.random.seed(seed)
    again = examples.select({"test": Forbidden(), "train": Made(labels, (9, 9))}, None)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.indices, other.indices)
        assert one.digest == other.digest


@given(LABELS, st.data())
def test_a_limit_bounds_both_together(labels: NDArray[np.int64], data: st.DataObject) -> None:
    least = 6 * len(labels) // np.bincount(labels).min() + 1  # one of each class comes by itself
    limit = data.draw(st.integers(int(least), len(labels) + 5))
    train, held = examples.select({"train": Made(labels)}, limit)
    assert len(train.indices) + len(held.indices) == min(limit, len(labels))
    assert len(held.indices) == round(0.2 * min(limit, len(labels)))
    assert not set(train.indices) & set(held.indices)
    share = min(1.0, limit / len(labels))
    both = np.concatenate([train.indices, held.indices])
    assert np.abs(counts(labels, both) - share * np.bincount(labels)).max() < 1 + 1e-9


@given(LABELS)
def test_indices_ascend(labels: NDArray[np.int64]) -> None:
    for chosen in examples.select({"train": Made(labels)}, len(labels) - 1):
        assert chosen.indices.dtype == np.int64
        assert (np.diff(chosen.indices) > 0).all()


def test_a_limit_above_all_changes_nothing() -> None:
    split = Made([0, 1] * 50)
    for one, other in zip(
        examples.select({"train": split}, None), examples.select({"train": split}, 100), strict=True
    ):
        assert one.digest == other.digest


def test_a_rare_class_is_in_both() -> None:
    labels = np.array([0] * 97 + [1] * 3)
    train, held = examples.select({"train": Made(labels)}, None)
    assert counts(labels, held.indices)[1] == 1
    assert counts(labels, train.indices)[1] == 2


def test_rare_classes_do_not_break_the_limit() -> None:
    rare = Made(np.repeat(np.arange(5), (960, 10, 10, 10, 10)))
    train, held = examples.select({"train": rare, "validation": rare}, 100)
    assert len(train.indices) + len(held.indices) == 100


def test_a_limit_that_leaves_one_example_of_a_class_is_said() -> None:
    splits = {"train": Made(np.repeat(np.arange(5), (960, 10, 10, 10, 10)))}
    with pytest.raises(UsageError, match="30 examples leave a class without a training") as caught:
        examples.select(splits, 30)
    assert caught.value.exit_code == 2


# ── with a validation split of its own ──────────────────────────────────────────────────────


def test_its_own_validation_split_is_used_whole() -> None:
    splits = {"train": Made([0, 1] * 40), "validation": Made([1, 0] * 7), "test": Forbidden()}
    train, held = examples.select(splits, None)
    assert (train.role, train.split) == ("train", "train")
    assert (held.role, held.split) == ("validation", "validation")
    assert np.array_equal(train.indices, np.arange(80))
    assert np.array_equal(held.indices, np.arange(14))


@given(LABELS, LABELS, st.data())
def test_a_limit_is_shared_in_proportion(
    train_labels: NDArray[np.int64], held_labels: NDArray[np.int64], data: st.DataObject
) -> None:
    whole = len(train_labels) + len(held_labels)
    limit = data.draw(st.integers(whole // 2, whole + 5))
    train, held = examples.select(
        {"train": Made(train_labels), "validation": Made(held_labels)}, limit
    )
    assert len(train.indices) + len(held.indices) == min(limit, whole)
    share = min(1.0, limit / whole)
    assert abs(len(train.indices) - share * len(train_labels)) <= 0.5 + 1e-9
    for labels, chosen in ((train_labels, train), (held_labels, held)):
        taken = len(chosen.indices) / len(labels)
        assert np.abs(counts(labels, chosen.indices) - taken * np.bincount(labels)).max() < 1 + 1e-9


def test_the_two_splits_have_different_digests() -> None:
    same = [0, 1] * 10
    train, held = examples.select({"train": Made(same), "validation": Made(same)}, None)
    assert np.array_equal(train.indices, held.indices)
    assert train.digest != held.digest


# ── too few ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [-1, 0, 1, 9, 10, 40])
def test_too_small_a_limit_is_said(limit: int) -> None:
    splits = {"train": Made(np.arange(1000) % 10)}
    with pytest.raises(UsageError, match=r"too few for 10 classes") as caught:
        examples.select(splits, limit)
    assert caught.value.exit_code == 2
    assert "--limit" in caught.value.hint


@pytest.mark.parametrize("limit", [-1, 0, 1, 9, 10, 40])
def test_too_small_a_limit_is_said_with_a_validation_split_too(limit: int) -> None:
    splits = {"train": Made(np.arange(1000) % 10), "validation": Made(np.arange(200) % 10)}
    with pytest.raises(UsageError, match=r"too few for 10 classes") as caught:
        examples.select(splits, limit)
    assert caught.value.exit_code == 2


def test_the_least_limit_that_is_enough() -> None:
    splits = {"train": Made(np.arange(1000) % 10)}
    train, held = examples.select(splits, 50)
    assert (len(train.indices), len(held.indices)) == (40, 10)


def test_a_class_without_a_training_example_is_said() -> None:
    splits = {"train": Made([0] * 60 + [1] * 1)}
    with pytest.raises(UsageError, match="a class without a training example") as caught:
        examples.select(splits, 61)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("labels", [[0] * 60 + [1], [0, 1, 2]])
def test_too_small_a_dataset_is_not_blamed_on_a_limit(labels: list[int]) -> None:
    with pytest.raises(DataError) as caught:
        examples.select({"train": Made(labels)}, None)
    assert caught.value.exit_code == 4
    assert "--limit" not in caught.value.message + caught.value.hint


# ── what results may be compared ────────────────────────────────────────────────────────────


def test_results_are_compared_where_data_and_limit_are_the_same() -> None:
    judged = examples.judged_by("abc", None)
    assert judged == examples.judged_by("abc", None)
    assert len({judged, examples.judged_by("abd", None), examples.judged_by("abc", 100)}) == 3


# ── decoded ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    return ArrayStore(tmp_path / "store")


def decoded(
    store: ArrayStore,
    dataset: str,
    digest: str,
    split: Any,
    chosen: examples.Selection,
    size: tuple[int, int],
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """The chosen examples out of the store, and their key."""
    key = examples.key(digest, chosen, size)
    building = store.build(
        key,
        examples.layout(chosen, size),
        lambda start, stop: examples.decode(dataset, split, chosen, size, start, stop),
    )
    while True:
        try:
            next(building)
        except StopIteration as end:
            return key, end.value


def test_decoded_are_the_chosen_in_order(store: ArrayStore) -> None:
    split = Made([0, 1] * 20)
    _, held = examples.select({"train": split, "test": Forbidden()}, None)
    key, array = decoded(store, "fake", "digest", split, held, (4, 6))
    assert array.shape == (8, 4, 6, 3)
    assert array.dtype == np.uint8
    assert array[:, 0, 0, 0].tolist() == held.indices.tolist()
    assert split.read == held.indices.tolist()
    assert key["dataset"] == "digest"
    assert np.array_equal(examples.labels(split, held), split.labels[held.indices])


def test_decoded_are_decoded_once(store: ArrayStore) -> None:
    split = Made([0, 1] * 20)
    train, _ = examples.select({"train": split}, None)
    key, array = decoded(store, "fake", "digest", split, train, (4, 6))
    again, same = decoded(store, "fake", "digest", Forbidden(), train, (4, 6))  # type: ignore[arg-type]
    assert again == key
    assert np.array_equal(array, same)


def test_decoded_have_a_key_for_each_dataset_selection_and_size(store: ArrayStore) -> None:
    split = Made([0, 1] * 20)
    train, held = examples.select({"train": split}, None)
    made = [
        decoded(store, "fake", digest, split, chosen, size)[0]
        for digest, chosen, size in (
            ("one", train, (4, 6)),
            ("two", train, (4, 6)),
            ("one", held, (4, 6)),
            ("one", train, (6, 4)),
        )
    ]
    assert len({repr(key) for key in made}) == 4


def test_decoded_are_resized_to_height_and_width(store: ArrayStore) -> None:
    split = Made([0, 1] * 10, size=(5, 3))
    train, _ = examples.select({"train": split}, None)
    _, array = decoded(store, "fake", "digest", split, train, (8, 12))
    assert array.shape == (16, 8, 12, 3)
    assert (array == train.indices[:, None, None, None]).all()


def test_resizing_is_bilinear(store: ArrayStore) -> None:
    class Edge(Made):
        def image(self, index: int) -> NDArray[np.uint8]:
            edge = np.zeros((2, 2, 3), np.uint8)
            edge[:, 1] = 200
            return edge

    split = Edge([0, 1] * 5)
    train, _ = examples.select({"train": split}, None)
    _, array = decoded(store, "fake", "digest", split, train, (2, 4))
    assert array[0, 0, :, 0].tolist() == [0, 50, 150, 200]


def test_the_test_split_is_never_read(store: ArrayStore) -> None:
    splits: dict[str, Any] = {"test": Forbidden(), "train": Made([0, 1] * 20)}
    for chosen in examples.select(splits, 30):
        assert chosen.split != "test"
        decoded(store, "fake", "digest", splits[chosen.split], chosen, (2, 2))
        examples.labels(splits[chosen.split], chosen)
