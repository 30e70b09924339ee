"""Which examples a trial trains on and is judged by, and their decoded arrays.

The test split is never read here. Where a dataset brings no validation split, a stratified
fifth of the training split becomes it; both this and `--limit` use a seed of their own, so
that every sweep over the same data is judged by the same examples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch import registry
from orch.contracts import Split
from orch.errors import DataError, OrchError, UsageError
from orch.training.shards import Layout
from orch.training.watchdog import Beat, quiet

VALIDATION_FRACTION = 0.2
SELECTION_SEED = 0

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Selection:
    """The examples of one role ("train" or "validation"): a split and row numbers, ascending."""

    role: str
    split: str
    indices: Indices

    @property
    def digest(self) -> str:
        """SHA-256 of the split's name and the row numbers."""
        return hashlib.sha256(self.split.encode() + self.indices.tobytes()).hexdigest()


def judged_by(dataset_digest: str, limit: int | None) -> str:
    """The identity of the validation examples: results are compared only where it is equal."""
    rule = f"{dataset_digest} {limit} {VALIDATION_FRACTION} {SELECTION_SEED}"
    return hashlib.sha256(rule.encode()).hexdigest()[:16]


def select(splits: Mapping[str, Split], limit: int | None) -> tuple[Selection, Selection]:
    """Choose the training and the validation examples: disjoint, stratified, seeded.

    `limit` bounds both together; without one, all examples are used.

    Raises:
        UsageError: the limit leaves a class without an example in one of the two.
        DataError: there are too few examples for that even without one.
    """
    train = np.asarray(splits["train"].labels)
    pool = np.arange(len(train))
    if "validation" in splits:
        other = np.asarray(splits["validation"].labels)
        held = np.arange(len(other))
        if limit is not None and limit < len(pool) + len(held):
            share = round(limit * len(pool) / (len(pool) + len(held)))
            pool, held = _take(train, pool, share, limit), _take(other, held, limit - share, limit)
        return Selection("train", "train", pool), Selection("validation", "validation", held)
    if limit is not None and limit < len(pool):
        pool = _take(train, pool, limit, limit)
    held = _take(train, pool, round(len(pool) * VALIDATION_FRACTION), limit)
    rest = np.setdiff1d(pool, held)
    if set(train[rest]) != set(train):
        raise _too_few(f"{len(pool)} examples leave a class without a training example", limit)
    return Selection("train", "train", rest), Selection("validation", "train", held)


def _too_few(message: str, limit: int | None) -> OrchError:
    """The user's fault where a limit was given, else that of the data."""
    if limit is None:
        return DataError(message, "add examples of its rarest classes")
    return UsageError(message, "give a larger --limit")


def _take(labels: Indices, pool: Indices, count: int, limit: int | None) -> Indices:
    """Draw `count` members of `pool`, each class by its share, at least one of each."""
    rng = np.random.default_rng(SELECTION_SEED)
    classes, sizes = np.unique(labels[pool], return_counts=True)
    if count < len(classes):
        raise _too_few(
            f"{count} of {len(pool)} examples are too few for {len(classes)} classes", limit
        )
    exact = sizes * (count / sizes.sum())
    quota = np.maximum(np.floor(exact).astype(int), 1)
    for position in np.argsort(quota - exact, kind="stable")[: max(0, count - quota.sum())]:
        quota[position] += 1
    while quota.sum() > count:  # rare classes took more than their share
        quota[quota.argmax()] -= 1
    chosen = [
        rng.permutation(pool[labels[pool] == label])[:share]
        for label, share in zip(classes, quota, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def key(dataset_digest: str, chosen: Selection, size: tuple[int, int]) -> dict[str, Any]:
    """What the chosen examples, resized to (height, width), are called in the store."""
    return {
        "what": "examples",
        "dataset": dataset_digest,
        "selection": chosen.digest,
        "size": list(size),
        "resize": "bilinear",
    }


def layout(chosen: Selection, size: tuple[int, int]) -> Layout:
    """The chosen examples as an array: uint8 (n, height, width, 3)."""
    return Layout((len(chosen.indices), *size, 3), "uint8", step=32)


def decode(
    dataset: str,
    split: Split,
    chosen: Selection,
    size: tuple[int, int],
    start: int,
    stop: int,
    beat: Beat = quiet,
) -> NDArray[np.uint8]:
    """The chosen examples from start to stop, decoded and resized; `beat` after each."""
    found: list[NDArray[np.uint8]] = []
    for index in chosen.indices[start:stop].tolist():
        with registry.blaming("dataset", dataset):
            image = split.image(index)
        found.append(resized(image, size))
        beat()
    return np.stack(found)


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image at (height, width) pixels, uint8 (height, width, 3), bilinear."""
    if image.shape[:2] == size:
        return image
    from PIL import Image

    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def labels(split: Split, chosen: Selection) -> Indices:
    """The class indices of the chosen examples, int64 (n,)."""
    return np.asarray(split.labels)[chosen.indices]
