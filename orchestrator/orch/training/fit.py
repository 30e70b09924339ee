"""One stage of training, epoch by epoch. Arrays in, metrics out; no data set, no database."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    *,
    epochs: int,
    batch_size: int,
    rng: np.random.Generator,
) -> Iterator[EpochMetrics]:
    """Train a compiled model, yielding after each epoch.

    Each epoch is a full shuffle. Batches have one size, so that the model is traced once: the
    last batch of an epoch is completed with examples of the one before it.

    Raises:
        NotFiniteError: the training or validation loss is not finite.
    """
    size = min(batch_size, len(train.labels))
    for epoch in range(1, epochs + 1):
        started = time.monotonic()
        logs = _one_epoch(model, train, size, rng)
        metrics = {**logs, **evaluate(model, validation, size)}
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NotFiniteError(f"{name} is {value} after epoch {epoch}")
        yield EpochMetrics(metrics, time.monotonic() - started)


def _one_epoch(
    model: Any, train: Examples, size: int, rng: np.random.Generator
) -> dict[str, float]:
    count = len(train.labels)
    order = rng.permutation(count)
    logs: list[dict[str, Any]] = []
    for start in range(0, count, size):
        rows = order[min(start, count - size) :][:size]
        step = model.train_on_batch(train.inputs[rows], train.labels[rows], return_dict=True)
        logs.append(step)
    return {name: float(np.mean([step[name] for step in logs])) for name in logs[0]}


def evaluate(model: Any, examples: Examples, batch_size: int) -> dict[str, float]:
    """Loss (cross-entropy) and accuracy over every example once."""
    chances = predict(model, examples.inputs, batch_size).astype(np.float64)
    of_truth = chances[np.arange(len(chances)), examples.labels]
    return {
        "val_loss": float(-np.log(np.clip(of_truth, 1e-7, 1.0)).mean()),
        "val_accuracy": float((chances.argmax(axis=1) == examples.labels).mean()),
    }


def predict(model: Any, inputs: NDArray[Any], batch_size: int) -> NDArray[np.float32]:
    """Run a model over (n, …) inputs in batches of one size; returns float32 (n, …)."""
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        padded = _padded(batch, batch_size)
        parts.append(np.asarray(model.predict_on_batch(padded))[: len(batch)])
    return np.concatenate(parts)


def _padded(batch: NDArray[Any], size: int) -> NDArray[Any]:
    """Repeat the first row until the batch has `size` rows, so that no second trace is made."""
    missing = size - len(batch)
    return np.concatenate([batch, np.repeat(batch[:1], missing, axis=0)]) if missing else batch
