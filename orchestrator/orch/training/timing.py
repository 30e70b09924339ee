"""What a network costs on this machine, measured: seconds per example, by where it is cut.

Measured in as many processes at once as will run trials, since they slow each other down.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from orch.contracts import Plan
from orch.errors import ClusterError
from orch.home import Home, write_json
from orch.training import fit, models, warm
from orch.training.cuts import Cut
from orch.training.warm import HeadShape, NetworkShape, WarmModels
from orch.trials import to_json

LEAST_SECONDS = 0.5  # a figure is the mean over at least so long
MOST_STEPS = 20


@dataclass(frozen=True)
class Costs:
    """Seconds per example for a network cut after so many layers; 0 layers: not cut.

    `before` is what features at the cut take, computed from decoded examples; `train` is a step
    behind the cut that trains all there is, `judge` a forward pass there. `bytes` is the size of
    one feature. `tracing` is what a process spends on the first steps, once; `start` is what it
    spends before, to import Keras and load the network.
    """

    before: float
    train: float
    judge: float
    bytes: int
    tracing: float
    start: float


@dataclass(frozen=True)
class Machine:
    """What the measuring processes have: how many run at once, and threads of each."""

    processes: int
    threads: int


@dataclass(frozen=True)
class _Wanted:
    home: Home
    network: NetworkShape
    plan: Plan
    classes: int
    cuts: tuple[int, ...]
    threads: int


def costs(
    home: Home,
    network: NetworkShape,
    plan: Plan,
    classes: int,
    cuts: Sequence[int],
    machine: Machine,
    measuring: Callable[[], bool],
    again: bool = False,
) -> dict[int, Costs]:
    """The costs at each of `cuts`; measured once for each network, plan and machine, or `again`.

    `measuring` is called where something has to be measured, which takes a minute or so; where
    it says no, nothing is returned.
    """
    file = home.timings / f"{_name(network, plan, classes, machine)}.json"
    known = {} if again else _read(file)
    missing = sorted(set(cuts) - known.keys())
    if missing:
        if not measuring():
            return {}
        known |= _measured(
            _Wanted(home, network, plan, classes, tuple(missing), machine.threads), machine
        )
        write_json(file, {str(cut): asdict(each) for cut, each in known.items()})
    return {cut: known[cut] for cut in cuts}


def _name(network: NetworkShape, plan: Plan, classes: int, machine: Machine) -> str:
    """What a measurement is valid for; which layers are frozen is measured, not part of it."""
    stage = plan.stages[0]
    known = {
        "network": [network.name, *network.size],
        "plan": [to_json(plan.image), to_json(plan.head), to_json(plan.augmentation), classes],
        "stage": [stage.optimizer.name, stage.batch_size],
        "machine": [asdict(machine), platform.node(), os.cpu_count()],
        "keras": [version("keras"), os.environ.get("KERAS_BACKEND", "tensorflow")],
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


def _read(file: Any) -> dict[int, Costs]:
    try:
        return {int(cut): Costs(**each) for cut, each in json.loads(file.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):  # none yet, or of another version
        return {}


def _measured(wanted: _Wanted, machine: Machine) -> dict[int, Costs]:
    """The mean over processes that measure the same at the same time.

    Raises:
        ClusterError: one of them was killed.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(machine.processes, mp_context=context) as pool:
            started = [pool.submit(_measure, wanted) for _ in range(machine.processes)]
            found = [each.result() for each in started]
    except BrokenProcessPool as error:
        raise ClusterError(
            f"a process that measured {wanted.network.name} was killed, most likely for want of "
            "memory; nothing was started",
            "--concurrent 1, or a smaller batch_size or image_size",
        ) from error
    return {cut: _mean([each[cut] for each in found]) for cut in wanted.cuts}


def _mean(found: Sequence[Costs]) -> Costs:
    return Costs(
        before=statistics.mean(each.before for each in found),
        train=statistics.mean(each.train for each in found),
        judge=statistics.mean(each.judge for each in found),
        bytes=found[0].bytes,
        tracing=statistics.mean(each.tracing for each in found),
        start=statistics.mean(each.start for each in found),
    )


def _measure(wanted: _Wanted) -> dict[int, Costs]:
    """In a process of its own: build, trace and time the network at every cut."""
    os.environ |= {
        "TF_NUM_INTRAOP_THREADS": str(wanted.threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    started = time.monotonic()
    from orch.training.workbench import Workbench

    network = Workbench(wanted.home).network(wanted.network)
    start = time.monotonic() - started
    return {cut: _measure_cut(wanted, network, cut, start) for cut in wanted.cuts}


def _measure_cut(wanted: _Wanted, network: Any, layers: int, start: float) -> Costs:
    began = time.monotonic()
    plan, size = wanted.plan, wanted.plan.stages[0].batch_size
    rng = np.random.default_rng(0)
    inputs: Any = rng.integers(0, 256, (size, *plan.image.size, 3), np.uint8)
    cut, prefix, images = Cut(layers, "measured", ""), None, inputs
    if layers:
        prefix = models.between(network, wanted.network.name, plan, 0, cut)
        inputs = fit.predict(prefix, images, size)
    stage = replace(plan.stages[0], frozen_layers=layers)
    shape = HeadShape.of(wanted.network, plan, wanted.classes)
    kept = WarmModels()
    head = kept.head(network, plan, shape)
    warm.begin(head, plan.head, 0)
    model = kept.compiled(network, plan, stage, cut, head, shape)
    labels = rng.integers(0, wanted.classes, size)
    model.train_on_batch(inputs, labels)
    model.predict_on_batch(inputs)
    tracing = time.monotonic() - began
    before = _seconds(lambda: prefix.predict_on_batch(images)) / size if prefix else 0.0
    train = _seconds(lambda: model.train_on_batch(inputs, labels)) / size
    judge = _seconds(lambda: model.predict_on_batch(inputs)) / size
    return Costs(before, train, judge, inputs.nbytes // size, tracing, start)


def _seconds(step: Callable[[], Any]) -> float:
    """The mean seconds of a step that was traced, after one that warms it up."""
    step()
    started, steps = time.monotonic(), 0
    while steps < MOST_STEPS and time.monotonic() - started < LEAST_SECONDS:
        step()
        steps += 1
    return (time.monotonic() - started) / steps
