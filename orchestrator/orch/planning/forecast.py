"""What a planned sweep will take on this machine, from what its network costs here."""

from __future__ import annotations

from collections.abc import Callable

from orch.cluster.slots import Demand, Slots, available_cores, divide
from orch.contracts import Progress
from orch.home import Home
from orch.planning import costs
from orch.planning.costs import Expected
from orch.planning.spec import PlannedSweep
from orch.settings import Settings
from orch.training import models, timing
from orch.training.arrays import ArrayStore
from orch.training.timing import Machine
from orch.training.warm import NetworkShape

SHARE = 0.7  # of the memory, as Ray has it for tasks


def expect(
    planned: PlannedSweep,
    settings: Settings,
    home: Home,
    progress: Progress | None,
    again: bool = False,
) -> Expected | None:
    """The time and the bytes that a sweep will take; measured now where it is not known yet, or
    `again`.

    Without `progress` nothing is measured, and None is returned where something would have to be.
    """
    spec, problem, plan = planned.spec, planned.problem, planned.first_plan
    variants = costs.variants(planned.strategy, spec.domains, spec.first, problem)
    wanted = sorted(
        {layers for each in variants for layers in costs.priced(problem.backbone, each)}
    )
    slots = slots_here(settings, spec.trials)
    known = timing.costs(
        home,
        NetworkShape(spec.backbone, models.network_size(plan.image), spec.weights_digest),
        plan,
        len(problem.dataset.classes),
        wanted,
        Machine(slots.concurrent, slots.cpus),
        _announcing(spec.backbone, progress),
        again,
    )
    if not known:
        return None
    store = ArrayStore(home.store, limit=settings.cache_bytes)
    room = store.room() if settings.store_features else 0
    train, validation = (len(role.indices) for role in planned.chosen)
    return costs.expect(
        variants,
        problem.backbone,
        known,
        (train, validation),
        spec.trials,
        slots.concurrent,
        room,
    )


def slots_here(settings: Settings, trials: int) -> Slots:
    """How trials would be divided over the cores and the memory of this machine, whatever cores
    it lacks of what they ask for: a cluster elsewhere may have them, and GPUs are not counted.
    """
    import psutil

    cores = available_cores()
    demand = Demand(settings.concurrent, cpus_per_trial=min(settings.cpus_per_trial, cores))
    memory = int(psutil.virtual_memory().total * SHARE)
    return divide(cores, 0.0, memory, demand, trials)


def _announcing(backbone: str, progress: Progress | None) -> Callable[[], bool]:
    def announce() -> bool:
        if progress is not None:
            progress(f"measuring {backbone} on this machine, once", 0, None)
        return progress is not None

    return announce
