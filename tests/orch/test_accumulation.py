"""A batch in parts: the same updates with half the memory."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
from digit_trials import losses, run, spec

from orch.contracts import Optimizer, Stage
from orch.errors import PluginError
from orch.home import Home
from orch.training import fit, optimizers, trial
from orch.training.fit import Examples
from orch.training.workbench import Workbench
from orch.trials import Objective

HEAD = {"frozen_layers": 26, "head_units": 16, "start": "random", "optimizer": "sgd"}
OPTIMIZERS = [
    Optimizer("adam", 0.05),
    Optimizer("adamw", 0.05, 0.0, 0.2),
    Optimizer("sgd", 0.05, 0.9, 0.1),
    Optimizer("rmsprop", 0.05, 0.5),
]


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("params", [{"batch_size": 32}, {"batch_size": 48, "momentum": 0.0}])
def test_halves_of_batches_are_as_good_as_batches(
    home: Home, bench: Workbench, parts: int, params: dict[str, object]
) -> None:
    wanted = spec(home, epochs=3, learning_rate=0.05, **HEAD, **params)
    whole = losses(run(wanted, bench)[1])
    outcome, reports = run(replace(wanted, accumulate=parts), bench)
    assert outcome.failure is None
    assert losses(reports) == pytest.approx(whole, rel=1e-5)


def test_whole_and_halved_trials_alternate_without_another_trace(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced: list[str] = []
    step = keras.Model.train_step
    monkeypatch.setattr(
        keras.Model, "train_step", lambda self, *v: (traced.append(self.name), step(self, *v))[1]
    )
    bench, first = Workbench(home), {}
    for number in range(4):
        parts = number % 2 + 1
        wanted = replace(spec(home, epochs=2, **HEAD), accumulate=parts)
        found = losses(run(wanted, bench)[1])
        assert found == first.setdefault(parts, found), "nothing is left of the one before"
    assert len(traced) == 4  # Keras runs its Python twice for one trace


def linear(optimizer: keras.Optimizer) -> keras.Model:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("wanted", OPTIMIZERS, ids=lambda each: each.name)
def test_every_optimizer_updates_by_the_mean_of_the_parts(wanted: Optimizer) -> None:
    """And a restart forgets gradients that were added up and the count of steps."""
    rng = np.random.default_rng(0)
    inputs, labels = rng.random((64, 8), np.float32), rng.integers(0, 3, 64)
    start = [rng.standard_normal((8, 3)).astype(np.float32), np.zeros(3, np.float32)]

    def trained(model: keras.Model, parts: int) -> np.ndarray:
        model.set_weights(start)
        stage = Stage(0, wanted, epochs=3, batch_size=16)
        every = Examples(inputs, labels)
        order = np.random.default_rng(1)
        list(fit.train(model, every, every, stage, Objective(), order, accumulate=parts))
        return np.concatenate([each.ravel() for each in model.get_weights()])

    whole, halved = linear(optimizers.make(wanted)), linear(optimizers.make(wanted, 2))
    expected = trained(whole, 1)
    found = trained(halved, 2)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    halved.train_on_batch(inputs[:8], labels[:8])  # a part of a batch that never becomes whole
    optimizers.restart(halved.optimizer, wanted)
    assert np.array_equal(trained(halved, 2), found)


@pytest.mark.parametrize(("size", "parts"), [(4, 2), (5, 2), (3, 2), (1, 2), (3, 4), (7, 3)])
def test_parts_have_one_size_and_miss_no_example(size: int, parts: int) -> None:
    rng = np.random.default_rng(0)
    whole = list(fit._batches(10, size, 1, np.random.default_rng(0)))
    steps = list(fit._batches(10, size, parts, rng))
    assert len(steps) == parts * len(whole), "every batch is an update"
    assert {len(rows) for rows in steps} == {-(-size // parts)}
    for at, rows in enumerate(whole):
        assert set(np.concatenate(steps[at * parts : (at + 1) * parts])) == set(rows)
    assert rng.bit_generator.state != np.random.default_rng(0).bit_generator.state


class XlaRuntimeError(RuntimeError):
    """Called as JAX calls it."""


class OutOfMemoryError(RuntimeError):
    """Called as PyTorch calls it."""


def raised_from(cause: Exception) -> Exception:
    error = PluginError("the dataset 'x' raised MemoryError")
    error.__cause__ = cause
    return error


def exhausted() -> Exception:
    import tensorflow as tf

    return tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((9, 9), np.dtype("f4")),
        exhausted(),
        XlaRuntimeError("RESOURCE_EXHAUSTED: Failed to allocate 8 bytes"),
        OutOfMemoryError("Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        OSError(12, "Cannot allocate memory"),
        raised_from(MemoryError()),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_backend_is_understood_when_memory_is_short(error: Exception) -> None:
    assert trial.classify(error) == "out of memory"


def test_what_ran_out_of_memory_holds_none(
    home: Home, bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = spec(home, **HEAD)
    whole = run(wanted, bench)
    assert bench.models._models
    with monkeypatch.context() as patch:

        def full(*words: object, **named: object) -> None:
            raise exhausted()

        patch.setattr(keras.Model, "train_on_batch", full)
        outcome, _ = run(wanted, bench)
    assert outcome.failure is not None
    assert outcome.failure.kind == "out of memory"
    assert not bench.models._models
    halved = run(replace(wanted, attempt=2, accumulate=2), bench)
    assert losses(halved[1]) == pytest.approx(losses(whole[1]), rel=1e-5)
