"""The weights that a trial trained, and only those: the rest is the published backbone.

A checkpoint is one `.npz` of plain arrays under the trial's id; it is read without unpickling.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch.errors import DataError
from orch.home import publishing
from orch.trials import Objective

Weights = Mapping[str, NDArray[Any]]


def take(network: Any, head: Any, frozen_layers: int) -> dict[str, NDArray[Any]]:
    """Copy the weights of the head and of the backbone's layers from `frozen_layers` on."""
    return {
        f"{name}/{position}": np.array(weight)
        for name, layer in _layers(network, head)[frozen_layers:]
        for position, weight in enumerate(layer.get_weights())
    }


def _layers(network: Any, head: Any) -> list[tuple[str, Any]]:
    """Every layer with a name that is the same in each build of the network.

    Keras numbers layers that the network does not name as it builds them, so position it is.
    """
    return [*((str(at), layer) for at, layer in enumerate(network.layers)), ("head", head)]


def put(network: Any, head: Any, weights: Weights) -> None:
    """Set the weights that `take` copied; all others stay.

    Raises:
        DataError: a weight is missing or has another shape than the network.
    """
    known: set[str] = set()
    for name, layer in _layers(network, head):
        there = layer.get_weights()
        names = [f"{name}/{position}" for position in range(len(there))]
        found = [weights[each] for each in names if each in weights]
        if not found and layer is not head:
            continue
        if [each.shape for each in found] != [each.shape for each in there]:
            raise DataError(f"the weights of {layer.name} do not fit the network they are kept for")
        layer.set_weights(found)
        known.update(names)
    if unknown := weights.keys() - known:
        raise DataError(f"the network has no weights {', '.join(sorted(unknown)[:3])}")


def path(folder: Path, trial_id: str) -> Path:
    """Where a trial's checkpoint is."""
    return folder / f"{trial_id}.npz"


def save(file: Path, weights: Weights) -> None:
    """Publish a checkpoint."""
    write: Any = np.savez  # the stubs take a name for an option
    with publishing(file) as stream:
        write(stream, **weights)


def load(file: Path) -> dict[str, NDArray[Any]]:
    """Read a checkpoint.

    Raises:
        DataError: it is damaged.
        FileNotFoundError: it is not there.
    """
    try:
        content = np.load(file, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError("it is one array")
        with content:
            return {name: content[name] for name in content.files}
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{file} is damaged ({error}); the trial's row and metrics are safe",
            "run the trial again to have its weights again",
        ) from None


@dataclass
class Kept:
    """The checkpoints of a sweep's best `count` trials; those of the others are deleted."""

    folder: Path
    count: int
    objective: Objective
    _best: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    def add(self, trial_id: str, score: float) -> None:
        """Take in a completed trial and delete what is no longer among the best."""
        at = sum(not self.objective.better(score, other) for other, _ in self._best)
        self._best.insert(at, (score, trial_id))
        for _, dropped in self._best[self.count :]:
            path(self.folder, dropped).unlink(missing_ok=True)
        del self._best[self.count :]

    def tidy(self, trial_ids: Iterable[str]) -> None:
        """Delete what is left of these trials but for the best: saved, and then not counted."""
        best = {trial_id for _, trial_id in self._best}
        for trial_id in trial_ids:
            if trial_id not in best:
                path(self.folder, trial_id).unlink(missing_ok=True)
            for unfinished in self.folder.glob(f".{trial_id}.npz.*"):
                unfinished.unlink(missing_ok=True)
