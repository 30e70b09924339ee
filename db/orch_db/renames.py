"""How a dataset of another name keeps its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, update

from orch_db.tables import Sweep, Trial


@dataclass(frozen=True)
class Renamed:
    """A sweep as it is once its dataset is called otherwise."""

    sweep_id: str
    dataset: str
    spec: Mapping[str, Any]
    board: str


def rename(connection: Connection, renamed: Renamed) -> None:
    """Give a sweep and its trials the dataset's new name and the board that belongs to it."""
    connection.execute(
        update(Sweep)
        .where(Sweep.id == renamed.sweep_id)
        .values(dataset=renamed.dataset, spec=dict(renamed.spec), board=renamed.board)
    )
    connection.execute(
        update(Trial).where(Trial.sweep_id == renamed.sweep_id).values(board=renamed.board)
    )
