"""Classes that are rare, and examples whose size is not that of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from orch.inspection.report import Finding

# Buda, Maki and Mazurowski, "A systematic study of the class imbalance problem in convolutional
# neural networks", 2018: the harm grows with this ratio. Where to warn is a convention of ours.
IMBALANCE = 10  # times as many training examples in the largest class as in the smallest
TINY = 10  # training examples, of which a fifth, two, would judge a class
SIZE = 4  # times the side of a square of the median's area
ASPECT = 3  # times the median of width over height


def imbalance(split: str, counts: Mapping[str, int]) -> Iterator[Finding]:
    """At most one finding: the largest class against the smallest that has an example."""
    present = {label: count for label, count in counts.items() if count}
    if not present:
        return
    largest, smallest = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
    ratio = present[largest] / present[smallest]
    if ratio > IMBALANCE:
        yield Finding(
            "imbalance",
            f"{split}: {largest} has {present[largest]:,}, {smallest} {present[smallest]:,}: "
            f"{ratio:.1f} times as many",
        )


def tiny(counts: Mapping[str, Mapping[str, int]]) -> Iterator[Finding]:
    """Classes with fewer than TINY training examples, or with none in another split."""
    for split, of_class in counts.items():
        least = TINY if split == "train" else 1
        for label, count in of_class.items():
            if count < least:
                noun = "example" if count == 1 else "examples"
                yield Finding("tiny-class", f"{split}: {label} has {count or 'no'} {noun}")


def size_outliers(sizes: NDArray[np.int64]) -> dict[int, str]:
    """Rows of `sizes`, int64 (n, 2), height and width, that are far from the median, and why.

    Rows of zeros are left out.
    """
    rows = np.flatnonzero(sizes.prod(axis=1))
    if not len(rows):
        return {}
    height, width = sizes[rows].T.astype(np.float64)
    side, aspect = np.sqrt(height * width), width / height
    size, shape = side / np.median(side), aspect / np.median(aspect)
    cases: Sequence[tuple[NDArray[np.bool_], str]] = (
        (size > SIZE, "larger"),
        (size < 1 / SIZE, "smaller"),
        (shape > ASPECT, "wider"),
        (shape < 1 / ASPECT, "taller"),
    )
    usual = f"{np.median(width):.0f} × {np.median(height):.0f}"
    return {
        int(row): f"{sizes[row, 1]} × {sizes[row, 0]} pixels, "
        f"{' and '.join(word for case, word in cases if case[at])} than {usual}"
        for at, row in enumerate(rows)
        if any(case[at] for case, _ in cases)
    }
