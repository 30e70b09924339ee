"""Warm models: the next trial of a process is the first trial of a process."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
from digit_trials import losses, run, spec

from orch.contracts import Optimizer
from orch.home import Home
from orch.training import optimizers, warm
from orch.training.workbench import Workbench

pytestmark = pytest.mark.slow

HEAD_ONLY = {"frozen_layers": 26, "head_units": 16, "dropout": 0.5, "start": "random"}


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The model of every training step that was traced: Keras runs its Python only then.

    For one trace it runs twice, since the first run creates variables.
    """
    traced: list[str] = []
    step = keras.Model.train_step

    def counted(self: keras.Model, *values: object) -> object:
        traced.append(self.name)
        return step(self, *values)

    monkeypatch.setattr(keras.Model, "train_step", counted)
    return traced


@pytest.mark.parametrize(
    "params",
    [
        HEAD_ONLY,
        {**HEAD_ONLY, "optimizer": "sgd", "momentum": 0.9},
        {"frozen_layers": 15, "optimizer": "adamw", "weight_decay": 0.1},
        {"frozen_layers": 0, "dropout": 0.3},
    ],
)
def test_a_trial_after_another_is_the_trial_alone(home: Home, params: dict[str, object]) -> None:
    wanted = spec(home, seed=11, **params)
    alone = losses(run(wanted, Workbench(home))[1])
    shared = Workbench(home)
    run(spec(home, seed=3, **{**params, "learning_rate": 0.1}), shared)
    assert losses(run(wanted, shared)[1]) == alone
    assert losses(run(wanted, shared)[1]) == alone


def test_a_trial_after_one_of_two_stages_is_the_trial_alone(home: Home) -> None:
    wanted = spec(home, **HEAD_ONLY)
    alone = losses(run(wanted, Workbench(home))[1])
    shared = Workbench(home)
    two = spec(home, strategy="two-stage", head_epochs=1, **{**HEAD_ONLY, "frozen_layers": 15})
    first = losses(run(two, shared)[1])
    assert losses(run(wanted, shared)[1]) == alone
    assert losses(run(two, shared)[1]) == first


def test_a_warm_trial_equals_one_in_a_fresh_process(home: Home, tmp_path: Path) -> None:
    params = {**HEAD_ONLY, "frozen_layers": 15, "optimizer": "sgd", "momentum": 0.8}
    shared = Workbench(home)
    run(spec(home, seed=1, **{**params, "momentum": 0.2, "learning_rate": 0.05}), shared)
    warm_losses = losses(run(spec(home, seed=2, **params), shared)[1])
    program = (
        "import json, sys; from pathlib import Path; from digit_trials import losses, run, spec\n"
        "from orch.home import Home; from orch.training.workbench import Workbench\n"
        "home, params = Home(Path(sys.argv[1])), json.loads(sys.argv[2])\n"
        "print(json.dumps(losses(run(spec(home, seed=2, **params), Workbench(home))[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(home.root), json.dumps(params)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(warm_losses, rel=1e-6)


def test_one_trace_for_all_rates_seeds_momenta_and_decays(home: Home, traces: list[str]) -> None:
    bench = Workbench(home)
    for number in range(5):
        settings = {"momentum": 0.1 + number / 10, "weight_decay": 0.01 * (number + 1)}
        settings |= {"learning_rate": 10.0**-number, "optimizer": "sgd"}
        run(spec(home, seed=number, **{**HEAD_ONLY, **settings}), bench)
    assert len(traces) == 2


def test_the_last_batch_of_an_epoch_is_no_second_trace(home: Home, traces: list[str]) -> None:
    run(spec(home, batch_size=48, **HEAD_ONLY), Workbench(home))  # 160 = 3 × 48 + 16
    assert len(traces) == 2


def test_memory_is_flat_over_two_hundred_trials(home: Home, traces: list[str]) -> None:
    bench = Workbench(home)
    grown: list[int] = []
    for number in range(200):
        units = (16, 24)[number % 2]
        run(spec(home, seed=number, **{**HEAD_ONLY, "head_units": units, "epochs": 1}), bench)
        if number in (59, 199):
            grown.append(_resident())
    assert len(traces) == 4
    assert grown[1] - grown[0] < 4 * 2**20


def _resident() -> int:
    gc.collect()
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


def test_what_was_used_least_recently_makes_room(home: Home, traces: list[str]) -> None:
    bench = Workbench(home)
    bench.models = warm.WarmModels(room=1)  # each is too large: one at a time
    for depth in (26, 15, 15, 26):
        run(spec(home, **{**HEAD_ONLY, "frozen_layers": depth}), bench)
    assert len(traces) == 6


def test_a_trace_takes_memory_however_small_its_head_is(home: Home, traces: list[str]) -> None:
    bench = Workbench(home)
    bench.models = warm.WarmModels(room=int(2.5 * warm.TRACED))  # two fit
    for units in (16, 17, 18, 16):
        run(spec(home, **{**HEAD_ONLY, "head_units": units}), bench)
    assert len(traces) == 8


def test_few_networks_are_kept(home: Home) -> None:
    bench = Workbench(home)
    weights = bench.weights("vgg-mini").digest
    shapes = [warm.NetworkShape("vgg-mini", (size, size), weights) for size in range(32, 80, 8)]
    built = [weakref.ref(bench.network(shape)) for shape in shapes]
    gc.collect()
    assert [each() is not None for each in built] == [False] * 2 + [True] * 4
    assert bench.network(shapes[-1]) is built[-1]()
    run(spec(home, **HEAD_ONLY), bench)
    bench.clear()
    gc.collect()
    assert not any(each() for each in built)


@pytest.mark.parametrize(
    ("first", "then", "reference"),
    [
        (Optimizer("adam", 0.1), Optimizer("adam", 0.05), keras.optimizers.Adam(0.05)),
        (
            Optimizer("sgd", 0.1, 0.9, 0.1),
            Optimizer("sgd", 0.05, 0.5, 0.3),
            keras.optimizers.SGD(0.05, momentum=0.5, weight_decay=0.3),
        ),
        (
            Optimizer("rmsprop", 0.1, 0.9),
            Optimizer("rmsprop", 0.05, 0.5),
            keras.optimizers.RMSprop(0.05, momentum=0.5),
        ),
        (
            Optimizer("adamw", 0.1, 0.0, 0.2),
            Optimizer("adamw", 0.05, 0.0, 0.01),
            keras.optimizers.AdamW(0.05, weight_decay=0.01),
        ),
    ],
)
def test_a_restarted_optimizer_is_keras_own(
    first: Optimizer, then: Optimizer, reference: keras.Optimizer
) -> None:
    rng = np.random.default_rng(0)
    inputs, labels = rng.random((64, 8), np.float32), rng.integers(0, 3, 64)
    start = rng.standard_normal((8, 3)).astype(np.float32)

    def steps(model: keras.Model) -> list[float]:
        model.set_weights([start, np.zeros(3, np.float32)])
        return [float(model.train_on_batch(inputs, labels)) for _ in range(5)]

    reused = _linear(optimizers.make(first))
    steps(reused)
    optimizers.restart(reused.optimizer, then)
    assert steps(reused) == steps(_linear(reference))


def _linear(optimizer: keras.Optimizer) -> keras.Model:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
    return model
