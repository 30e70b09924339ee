"""Trials that are not over, saved so that another process goes on where one was ended.

A snapshot is taken after an epoch, before it is reported, and holds everything the next epoch
depends on: it goes on with the very numbers it would have had. It is one `.npz` of plain arrays,
one of them JSON text, under the trial's id; a checksum over all of them is checked before any is
used, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orch.contracts import Plan
from orch.errors import DataError, first_line
from orch.training import checkpoints, warm
from orch.training.checkpoints import Weights
from orch.training.cuts import Cut
from orch.training.features import versions
from orch.trials import EpochReport, TrialSpec, to_json

SHARE = 0.05  # of a trial's time that may be spent on saving it
TEXT, SUM = "text", "sha256"  # what the two arrays are called that are no numbers of a model

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Snapshot:
    """A trial after an epoch.

    `order` is the state of the generator that shuffles. `weights` are those after the epoch,
    `stage_best` those of the stage's best one and `trial_best` of the trial's, each as
    `checkpoints.take` gives them; where two are the same object they are stored once.
    `optimizer` and `random` are the values of the model's variables, in their order.
    """

    stage: int
    reports: Sequence[EpochReport]
    order: Mapping[str, Any]
    weights: Weights
    stage_best: Weights
    trial_best: Weights
    optimizer: Sequence[NDArray[Any]]
    random: Sequence[NDArray[Any]]


class Pace:
    """When a snapshot is due: at most every `seconds`, and so that it takes little of the time.

    With 0 it is due after every epoch.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    @property
    def due(self) -> bool:
        """Whether enough time has passed since the last one, or since the beginning."""
        return time.monotonic() >= self._next

    def took(self, seconds: float) -> None:
        """Note that one was saved, or refused, just now."""
        wait = max(self._seconds, seconds / SHARE) if self._seconds else 0.0
        self._next = time.monotonic() + wait


def path(folder: Path, trial_id: str) -> Path:
    """Where a trial's snapshot is; `folder` is the home's `running`."""
    return folder / f"{trial_id}.npz"


def discard(folder: Path, trial_ids: Iterable[str]) -> None:
    """Delete the snapshots of trials that will not go on, and what was half written of them."""
    for trial_id in trial_ids:
        path(folder, trial_id).unlink(missing_ok=True)
        for unfinished in folder.glob(f".{trial_id}.npz.*"):
            unfinished.unlink(missing_ok=True)


def fingerprint(spec: TrialSpec, plan: Plan, cuts: Iterable[Cut]) -> str:
    """What must be the same for a trial to go on: all that decides what is computed, and how.

    `cuts` are those of the stages: behind another one a model has its variables in other order.
    """
    known = {
        "trial": [spec.sweep, spec.number, spec.seed, spec.limit, spec.accumulate],
        "data": [spec.dataset, dict(spec.dataset_options), spec.dataset_digest],
        "network": [spec.backbone, spec.weights_digest],
        "strategy": [spec.strategy, dict(spec.params), to_json(plan), [cut.layers for cut in cuts]],
        "objective": asdict(spec.objective),
        "keras": versions(),
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def states(variables: Iterable[Any]) -> list[NDArray[Any]]:
    """Copies of the values of Keras variables."""
    import keras

    return [np.array(keras.ops.convert_to_numpy(each)) for each in variables]


def resume(snapshot: Snapshot, network: Any, head: Any, model: Any) -> None:
    """Set weights, optimizer and random state of a stage's compiled model to what they were.

    Raises:
        DataError: the snapshot is of another model.
    """
    checkpoints.put(network, head, snapshot.weights)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    for variables, values in (
        (model.optimizer.variables, snapshot.optimizer),
        (warm.random_states(model), snapshot.random),
    ):
        if [tuple(each.shape) for each in variables] != [each.shape for each in values]:
            raise DataError("what was saved of this trial does not fit its model")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def save(file: Path, snapshot: Snapshot, fingerprint: str) -> None:
    """Publish a snapshot.

    Raises:
        OSError: the disk refuses it; the one before it stays.
    """
    roles = (snapshot.weights, snapshot.stage_best, snapshot.trial_best)
    kept = list({id(each): each for each in roles}.values())
    places = [next(at for at, each in enumerate(kept) if each is role) for role in roles]
    document = {
        "fingerprint": fingerprint,
        "stage": snapshot.stage,
        "reports": [asdict(report) for report in snapshot.reports],
        "order": snapshot.order,
        "roles": places,
    }
    arrays = {
        TEXT: np.frombuffer(json.dumps(document).encode(), np.uint8),
        **{f"weights/{at}/{n}": v for at, each in enumerate(kept) for n, v in each.items()},
        **{f"optimizer/{at}": value for at, value in enumerate(snapshot.optimizer)},
        **{f"random/{at}": value for at, value in enumerate(snapshot.random)},
    }
    checkpoints.save(file, {**arrays, SUM: np.frombuffer(_sum(arrays), np.uint8)})


def load(file: Path, fingerprint: str) -> Snapshot | None:
    """Read a snapshot; None where there is none, or one that is damaged or of another trial.

    The latter two are said on stderr.
    """
    try:
        arrays = checkpoints.load(file)
        expected = arrays.pop(SUM).tobytes()
        if _sum(arrays) != expected:
            raise DataError("its checksum is another")
        document = json.loads(arrays[TEXT].tobytes())
        if document["fingerprint"] != fingerprint:
            raise DataError("it is of another trial, or of another version of what trains it")
        return _read(document, arrays)
    except FileNotFoundError:
        return None
    except Exception as error:  # there is no end to what a damaged archive makes its reader raise
        print(f"the trial starts over: {file}: {first_line(error)}", file=sys.stderr)
        return None


def _read(document: Mapping[str, Any], arrays: Arrays) -> Snapshot:
    roles = [_under(f"weights/{place}/", arrays) for place in document["roles"]]
    return Snapshot(
        stage=document["stage"],
        reports=[EpochReport(**report) for report in document["reports"]],
        order=document["order"],
        weights=roles[0],
        stage_best=roles[1],
        trial_best=roles[2],
        optimizer=list(_under("optimizer/", arrays).values()),
        random=list(_under("random/", arrays).values()),
    )


def _under(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin so, in the order they were stored in."""
    return {n.removeprefix(prefix): value for n, value in arrays.items() if n.startswith(prefix)}


def _sum(arrays: Arrays) -> bytes:
    """SHA-256 over names, types, shapes and values."""
    found = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        found.update(f"{name} {value.dtype.str} {value.shape}".encode())
        found.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return found.digest()
