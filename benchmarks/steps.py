"""How a head is best trained on stored features: steps per call, and threads per process.

    python benchmarks/steps.py

Two questions that orch answers once, by these measurements, and not in every sweep. Is an epoch
sooner over when several steps are one call (`fit` with `steps_per_execution`) than when each is
one (`train_on_batch`, as orch does)? Do two processes of one thread train more epochs a second
than one process of two threads? Arms take turns; the fastest turn of each counts, since whatever
else the machine does can only slow one down.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from workload import machine, table

EXAMPLES = 1600
STEPS = (1, 8, 32)


@dataclass(frozen=True)
class Head:
    """A head on features of this shape: one dense layer, and the batch it is trained with."""

    name: str
    shape: tuple[int, ...]
    units: int
    batch: int


HEADS = (
    Head("flatten 4×4×512, 256 units, batch 16", (4, 4, 512), 256, 16),
    Head("average 512, 64 units, batch 32", (512,), 64, 32),
    Head("average 512, 64 units, batch 128", (512,), 64, 128),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        print(json.dumps(_epochs_a_second(HEADS[options.worker], options.turns)))
        return
    print(machine())
    print(table([("head", "train_on_batch, ms an epoch", *_columns()), *_calls(options.turns)]))
    print(table([("head", "2 × 1 thread", "1 × 2 threads", "ratio"), *_threads(options.turns)]))


def _columns() -> list[str]:
    return [f"fit, {steps} a call" for steps in STEPS]


# ── steps per call ──────────────────────────────────────────────────────────────────────────


def _calls(turns: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for head in HEADS:
        arms = {"each": _model(head, 1), **{str(steps): _model(head, steps) for steps in STEPS}}
        took: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(turns + 1):  # the first traces
            for name, model in arms.items():
                took[name].append(_epoch(model, head, whole=name != "each"))
        rows.append((head.name, *(f"{1000 * min(each[1:]):.0f}" for each in took.values())))
    return rows


def _model(head: Head, steps: int) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    model: Any = keras.Sequential(
        [
            keras.Input(head.shape),
            layers.Flatten(),
            layers.Dense(head.units, "relu"),
            layers.Dropout(0.5),
            layers.Dense(2, "softmax"),
        ]
    )
    loss = "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=["accuracy"], steps_per_execution=steps, jit_compile=False)
    return model


def _epoch(model: Any, head: Head, whole: bool) -> float:
    """Seconds of one epoch in a new order: in one call of `fit`, or step by step."""
    import numpy as np

    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(EXAMPLES, *head.shape)).astype(np.float32)
    labels = rng.integers(0, 2, EXAMPLES)
    started = time.perf_counter()
    order = rng.permutation(EXAMPLES)
    if whole:
        model.fit(inputs[order], labels[order], head.batch, verbose=0, shuffle=False)
    else:
        for start in range(0, EXAMPLES, head.batch):
            rows = order[start : start + head.batch]
            model.train_on_batch(inputs[rows], labels[rows], return_dict=True)
    return time.perf_counter() - started


# ── threads per process ─────────────────────────────────────────────────────────────────────


def _threads(turns: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for at, head in enumerate(HEADS):
        two, one = _together(at, turns, 2, 1), _together(at, turns, 1, 2)
        rows.append((head.name, f"{two:.2f} epochs/s", f"{one:.2f} epochs/s", f"{two / one:.2f}"))
    return rows


def _together(head: int, turns: int, processes: int, threads: int) -> float:
    """Epochs a second of so many processes at once."""
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": str(threads)}
    environment |= {"TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": str(threads)}
    words = [sys.executable, __file__, "--worker", str(head), "--turns", str(turns)]
    running = [
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(processes)
    ]
    return sum(float(json.loads(each.communicate()[0])) for each in running)


def _epochs_a_second(head: Head, turns: int) -> float:
    model = _model(head, 1)
    took = [_epoch(model, head, whole=False) for _ in range(2 * turns + 1)]
    return 1 / sorted(took[1:])[turns]  # the median: processes must be at work together


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
