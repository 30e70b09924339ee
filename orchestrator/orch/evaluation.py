"""How good predictions are, class by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class, and how many examples it has."""

    name: str
    precision: float
    recall: float
    f1: float
    examples: int


@dataclass(frozen=True)
class Evaluation:
    """Accuracy, every class's scores, and `confusion[true][predicted]` as counts."""

    accuracy: float
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def macro_f1(self) -> float:
        """The mean F1 over classes, each counting the same."""
        return sum(each.f1 for each in self.classes) / len(self.classes)


def evaluate(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], classes: tuple[str, ...]
) -> Evaluation:
    """Compare class indices (n,) with probabilities (n, classes); the highest one is predicted."""
    import sklearn.metrics

    metrics: Any = sklearn.metrics
    predicted, known = probabilities.argmax(axis=1), range(len(classes))
    precision, recall, f1, examples = metrics.precision_recall_fscore_support(
        labels, predicted, labels=list(known), zero_division=0
    )
    return Evaluation(
        accuracy=float((predicted == labels).mean()),
        classes=tuple(
            ClassScore(
                name, float(precision[at]), float(recall[at]), float(f1[at]), int(examples[at])
            )
            for at, name in enumerate(classes)
        ),
        confusion=tuple(
            tuple(row)
            for row in metrics.confusion_matrix(labels, predicted, labels=list(known)).tolist()
        ),
    )
