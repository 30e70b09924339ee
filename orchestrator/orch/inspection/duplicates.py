"""Which examples are the same picture, and which are nearly the same.

Two pictures are nearly the same where their 32 × 32 thumbnails correlate: resizing, saving at
a lower quality, a little more light or a slightly different crop leave the correlation near 1.
Which pairs are worth comparing is found first on 8 × 8 grey thumbnails, all against all, as
products of matrices: over 60,000 examples that took half the time of comparing 64-bit
difference hashes, and a change of contrast that turns a quarter of a hash's bits does not
hide a pair from it.

SAME was measured: of pairs of different clips of RAVDESS, whose spectrograms of one sentence by
one actor are alike, the nearest correlate at 0.974; all pairs in CIFAR-10 from 0.98 up show one
picture, as nearly all from 0.957 up do; a crop by 1 % on each side correlates at 0.99 in the
median. `docs/own-data.md` says what is found and what is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from orch.contracts import Progress

SAME = 0.98  # correlation of thumbnails from which on pictures are nearly the same
WORTH = 0.97  # correlation of coarse thumbnails from which on a pair is compared
COARSE = 8
TILE = 1024, 4096  # rows and columns that are compared at a time: 16 MiB
PAIRS = 1024  # pairs of thumbnails that are compared at a time: 24 MiB
STEP = "comparing examples"

Rows = NDArray[np.int64]


def exact(digests: Sequence[bytes]) -> list[list[int]]:
    """All rows in groups of one digest, in the order of their first; empty digests are left out."""
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        if digest:
            groups[digest].append(row)
    return list(groups.values())


def near(thumbnails: NDArray[np.uint8], rows: Rows, progress: Progress) -> list[list[int]]:
    """Groups of at least two of the `rows`, each nearly the same as another one of its group.

    Between two of a group may be several steps.
    """
    group = np.arange(len(rows))
    for left, right in _worth_comparing(_coarse(thumbnails, rows), progress):
        for start in range(0, len(left), PAIRS):
            a, b = left[start : start + PAIRS], right[start : start + PAIRS]
            apart = group[a] != group[b]
            a, b = a[apart], b[apart]
            same = correlation(thumbnails[rows[a]], thumbnails[rows[b]]) >= SAME
            for one, other in zip(a[same].tolist(), b[same].tolist(), strict=True):
                former, first = sorted((group[one], group[other]), reverse=True)
                group[group == former] = first
    order = np.argsort(group, kind="stable")
    found = np.split(rows[order], np.flatnonzero(np.diff(group[order])) + 1)
    return [members.tolist() for members in found if len(members) > 1]


def correlation(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pearson's, of n pairs of pictures uint8 (n, height, width, 3), each channel about its mean.

    It is symmetric, at most 1, and 0 where a picture is all of one colour.
    """
    a, b = _centred(left), _centred(right)
    lengths = np.sqrt(np.square(a).sum((1, 2)) * np.square(b).sum((1, 2)))
    return (a * b).sum((1, 2)) / np.maximum(lengths, 1)


def _centred(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    count, height, width, channels = pictures.shape
    flat = pictures.reshape(count, height * width, channels).astype(np.float32)
    return flat - flat.mean(axis=1, keepdims=True)


def _coarse(thumbnails: NDArray[np.uint8], rows: Rows) -> NDArray[np.float32]:
    """Grey thumbnails as vectors about 0 of length 1, float32 (n, COARSE²)."""
    step = thumbnails.shape[1] // COARSE
    found = np.zeros((len(rows), COARSE**2), np.float32)
    for start in range(0, len(rows), TILE[1]):
        some = thumbnails[rows[start : start + TILE[1]]]
        cells = some.reshape(-1, COARSE, step, COARSE, step, 3).mean((2, 4, 5), dtype=np.float32)
        flat = cells.reshape(len(some), -1)
        flat -= flat.mean(axis=1, keepdims=True)
        found[start : start + TILE[1]] = flat / np.maximum(
            np.linalg.norm(flat, axis=1, keepdims=True), 1e-3
        )
    return found


def _worth_comparing(
    vectors: NDArray[np.float32], progress: Progress
) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of different rows that correlate, the lower row first, each pair once."""
    count, (high, wide) = len(vectors), TILE
    for top in range(0, count, high):
        progress(STEP, top, count)
        for side in range(top, count, wide):
            product = vectors[top : top + high] @ vectors[side : side + wide].T
            hits = np.flatnonzero(product >= WORTH)
            left, right = np.divmod(hits, product.shape[1])
            left, right = left + top, right + side
            yield left[left < right], right[left < right]


def spread(groups: Iterable[Sequence[int]], whole: Iterable[Sequence[int]]) -> list[list[int]]:
    """`groups` of first rows, each with all the rows of the `whole` groups these are first of."""
    members = {group[0]: group for group in whole}
    return [[row for first in group for row in members[first]] for group in groups]
