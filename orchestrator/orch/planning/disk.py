"""Whether the disk has room for what a sweep writes, before it starts.

Features are no part of it: where there is no room for them, they are not stored.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from orch.errors import StorageError
from orch.home import Home
from orch.planning import costs
from orch.planning.spec import PlannedSweep
from orch.training import cuts, examples
from orch.training.arrays import ArrayStore

FLOAT = 4  # bytes of a weight
OF_SNAPSHOT = 4  # weights, those of the best epoch, two values of the optimizer for each


@dataclass(frozen=True)
class Need:
    """Bytes that a sweep writes at least: decoded examples that are not stored yet, checkpoints
    of its best trials, and what its running trials go on from. Heads are not counted. `free` is
    what the disk has, `store` what the store can take on.
    """

    examples: int
    checkpoints: int
    snapshots: int
    free: int
    store: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.examples + self.checkpoints + self.snapshots


def need(planned: PlannedSweep, home: Home, concurrent: int, limit: int = 0) -> Need:
    """What a sweep writes while so many of its trials run at once, and what is free.

    The store takes `limit` bytes at most, or where that is 0 half of what the disk has for it.
    """
    spec, layers = planned.spec, planned.problem.backbone.layers
    variants = costs.variants(planned.strategy, spec.domains, spec.first, planned.problem)
    trained = max(
        sum(layer.parameters for layer in layers[first:])
        for plan in variants
        for first in cuts.trained_from(plan)
    )
    store = ArrayStore(home.store, limit=limit)
    size = planned.first_plan.image.size
    unstored = sum(
        store.missing(
            examples.key(spec.dataset_digest, role, size),
            examples.layout(role, size).bytes,
            spec.id,
        )
        for role in planned.chosen
    )
    kept = min(spec.keep, spec.trials) * trained * FLOAT
    running = concurrent * OF_SNAPSHOT * trained * FLOAT
    return Need(unstored, kept, running, _free(home), store.room(spec.id))


def require(found: Need, home: Home) -> None:
    """Refuse to start what the disk or the store has no room for.

    Raises:
        StorageError: it has none.
    """
    if found.total > found.free:
        raise StorageError(
            f"the sweep needs {found.total / 1e6:,.0f} MB in {home.root}, where "
            f"{found.free / 1e6:,.0f} MB are free; nothing was started",
            "orch cache clear, a smaller --limit or --keep, or another ORCH_HOME",
        )
    if found.examples > found.store:
        raise StorageError(
            f"the sweep's decoded examples take {found.examples / 1e6:,.0f} MB, the store in "
            f"{home.store} may take {found.store / 1e6:,.0f} MB more; nothing was started",
            "set ORCH_CACHE_BYTES higher, such as 20GB, or sweep with a --limit",
        )


def _free(home: Home) -> int:
    folder = home.root
    while not os.path.isdir(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free
