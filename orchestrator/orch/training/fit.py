"""One stage of training, epoch by epoch. Arrays in, metrics out; no data set, no database."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch.contracts import Stage
from orch.errors import DataError
from orch.training import schedules
from orch.training.watchdog import Beat, quiet
from orch.trials import Objective

EVALUATION_BATCH = 32  # examples per step at least, where nothing is learnt from them


@dataclass(frozen=True)
class Examples:
    """Inputs of a model, any dtype (n, …), and their class indices, int64 (n,)."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class EpochMetrics:
    """Loss and accuracy on the training examples as they were met, and on the validation ones."""

    metrics: dict[str, float]
    seconds: float


class NotFiniteError(ArithmeticError):
    """The loss became infinite or not a number."""


def train(
    model: Any,
    train: Examples,
    validation: Examples,
    stage: Stage,
    objective: Objective,
    rng: np.random.Generator,
    done: int = 0,
    former: Sequence[float] = (),
    accumulate: int = 1,
    beat: Beat = quiet,
) -> Iterator[EpochMetrics]:
    """Train a compiled model for a stage, yielding after each epoch; `done` were before it.

    Each epoch is a full shuffle. Batches have one size, so that the model is traced once: the
    last batch of an epoch is completed with examples of the one before it. With `accumulate` a
    batch is learnt from in so many parts, for an optimizer that adds up their gradients.
    `former` is the objective after each epoch of this stage that was trained already.

    Raises:
        Whatever `beat` raises.
        NotFiniteError: the training or validation loss is not finite.
        DataError: the objective's metric is none that is measured.
    """
    size = min(stage.batch_size, len(train.labels))
    part = math.ceil(size / accumulate)
    values = list(former)
    while not schedules.over(stage, values, objective):
        started = time.monotonic()
        rate = schedules.rate(stage, values, objective)
        model.optimizer.learning_rate = rate
        logs = _one_epoch(model, train, _batches(len(train.labels), size, accumulate, rng), beat)
        judged = evaluate(model, validation, max(part, EVALUATION_BATCH), beat)
        metrics = {**logs, **judged, "learning_rate": rate}
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NotFiniteError(f"{name} is {value} after epoch {done + len(values) + 1}")
        values.append(_objective(metrics, objective))
        yield EpochMetrics(metrics, time.monotonic() - started)


def _objective(metrics: Mapping[str, float], objective: Objective) -> float:
    if objective.metric not in metrics:
        raise DataError(f"no metric is called {objective.metric!r} ({', '.join(metrics)})")
    return metrics[objective.metric]


def _batches(
    count: int, size: int, parts: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """The rows of every step of an epoch: batches of `size`, each in `parts` of one size.

    Where a batch does not divide, its parts share examples, so that none is smaller.
    """
    order = rng.permutation(count)
    part = math.ceil(size / parts)
    for start in range(0, count, size):
        rows = order[min(start, count - size) :][:size]
        for at in range(0, part * parts, part):
            yield rows[min(at, size - part) :][:part]


def _one_epoch(
    model: Any, train: Examples, batches: Iterator[NDArray[np.int64]], beat: Beat
) -> dict[str, float]:
    logs: list[dict[str, Any]] = []
    for rows in batches:
        step = model.train_on_batch(train.inputs[rows], train.labels[rows], return_dict=True)
        logs.append(step)
        beat()
    return {name: float(np.mean([step[name] for step in logs])) for name in logs[0]}


def evaluate(
    model: Any, examples: Examples, batch_size: int, beat: Beat = quiet
) -> dict[str, float]:
    """Loss (cross-entropy) and accuracy over every example once."""
    chances = probabilities(model, examples.inputs, batch_size, beat)
    of_truth = chances[np.arange(len(chances)), examples.labels]
    return {
        "val_loss": float(-np.log(np.clip(of_truth, 1e-7, 1.0)).mean()),
        "val_accuracy": float((chances.argmax(axis=1) == examples.labels).mean()),
    }


def probabilities(
    model: Any, inputs: NDArray[Any], batch_size: int, beat: Beat = quiet
) -> NDArray[np.float64]:
    """The probability of every class, float64 (n, classes), from softmax or one sigmoid."""
    out = predict(model, inputs, batch_size, beat).astype(np.float64)
    return np.concatenate([1 - out, out], axis=1) if out.shape[1] == 1 else out


def predict(
    model: Any, inputs: NDArray[Any], batch_size: int, beat: Beat = quiet
) -> NDArray[np.float32]:
    """Run a model over (n, …) inputs in batches of one size; returns float32 (n, …)."""
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        padded = _padded(batch, batch_size)
        parts.append(np.asarray(model.predict_on_batch(padded))[: len(batch)])
        beat()
    return np.concatenate(parts)


def _padded(batch: NDArray[Any], size: int) -> NDArray[Any]:
    """Repeat the first row until the batch has `size` rows, so that no second trace is made."""
    missing = size - len(batch)
    return np.concatenate([batch, np.repeat(batch[:1], missing, axis=0)]) if missing else batch
