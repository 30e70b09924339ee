"""How many trials run at once, and what each gets of the cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass

from orch.errors import UsageError

# Without GPUs, as many workers as cores, memory and this allow: on two cores, twelve trials on
# digits took 73 s with two workers of one thread and 107 s with one worker of two.
MOST_WORKERS = 8
WORKER_MEMORY = 2 * 2**30  # bytes that a worker with TensorFlow and a backbone may need


@dataclass(frozen=True)
class Demand:
    """What was asked for: 0 or -1 mean "choose" (see `Settings`)."""

    concurrent: int = 0
    gpus_per_trial: float = -1.0
    cpus_per_trial: int = 0


@dataclass(frozen=True)
class Slots:
    """How many trials run at once and what each gets; `spare` is True where more would fit."""

    concurrent: int
    cpus: int
    gpus: float
    spare: bool


def divide(cpus: int, gpus: float, memory: int, demand: Demand, trials: int) -> Slots:
    """Divide a cluster: a trial for each GPU, or else the cores among a few trials.

    Raises:
        UsageError: a trial asks for more than there is.
    """
    per_gpu = demand.gpus_per_trial if demand.gpus_per_trial >= 0 else min(1.0, gpus)
    per_gpu_fit = int(gpus / per_gpu + 1e-9) if per_gpu else cpus
    if per_gpu > gpus or demand.cpus_per_trial > cpus:
        raise UsageError(
            f"a trial asks for {per_gpu:g} GPUs and {demand.cpus_per_trial} cores, "
            f"the cluster has {gpus:g} and {cpus}",
            "lower --gpus-per-trial or --cpus-per-trial",
        )
    if per_gpu:
        fit = per_gpu_fit
    elif demand.cpus_per_trial:
        fit = cpus // demand.cpus_per_trial
    else:
        fit = max(1, min(cpus, MOST_WORKERS, memory // WORKER_MEMORY))
    wanted = demand.concurrent or min(fit, trials)
    each = demand.cpus_per_trial or max(1, cpus // max(wanted, fit if per_gpu else 1))
    most = min(cpus // each, per_gpu_fit)
    return Slots(min(wanted, most), each, per_gpu, most > wanted)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
