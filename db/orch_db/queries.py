"""Reads. Nothing here writes; the connection refuses to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any, Self, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Select, bindparam, func, select

from orch_db import retry, schema
from orch_db.connect import exists, open_engine, product
from orch_db.errors import NotUniqueError
from orch_db.records import (
    AttemptRecord,
    Board,
    EpochRecord,
    Orders,
    SweepRecord,
    TrialRecord,
)
from orch_db.statements import LONGEST_HOLD, Instant
from orch_db.tables import Attempt, Epoch, Sweep, Trial

RETRY_SECONDS = 10.0  # whoever reads is waiting

T = TypeVar("T")


class Queries:
    """Frozen records out of the database; an absent or empty one has none."""

    def __init__(self, engine: Engine | None) -> None:
        self._engine = engine if engine is not None and schema.check(engine) else None

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at a URL for reading; it is not created."""
        if not exists(url):
            return cls(None)
        engine = open_engine(url, write=False)
        try:
            return cls(engine)
        except BaseException:
            engine.dispose()
            raise

    def close(self) -> None:
        """Close all connections."""
        if self._engine is not None:
            self._engine.dispose()

    def product(self) -> str:
        """The database's kind and version; "" where there is none."""
        return product(self._engine) if self._engine is not None else ""

    def sweeps(self, limit: int | None = None) -> list[SweepRecord]:
        """Sweeps, newest first."""
        rows = self._rows(
            select(Sweep.__table__).order_by(Sweep.created_at.desc(), Sweep.id).limit(limit)
        )
        return self._with_counts(rows)

    def sweep(self, prefix: str) -> SweepRecord | None:
        """The sweep whose id begins with `prefix`.

        Raises:
            NotUniqueError: several do.
        """
        rows = self._rows(
            select(Sweep.__table__).where(Sweep.id.startswith(prefix, autoescape=True)).limit(2)
        )
        _one("sweep", prefix, rows)
        return self._with_counts(rows)[0] if rows else None

    def trial(self, prefix: str) -> TrialRecord | None:
        """The trial whose id begins with `prefix`.

        Raises:
            NotUniqueError: several do.
        """
        rows = self._rows(
            select(Trial.__table__).where(Trial.id.startswith(prefix, autoescape=True)).limit(2)
        )
        _one("trial", prefix, rows)
        return TrialRecord(**rows[0]) if rows else None

    def trials(self, sweep_id: str) -> list[TrialRecord]:
        """A sweep's trials, in the order they were suggested."""
        rows = self._rows(
            select(Trial.__table__).where(Trial.sweep_id == sweep_id).order_by(Trial.number)
        )
        return [TrialRecord(**row) for row in rows]

    def best(self, sweep: SweepRecord) -> TrialRecord | None:
        """The best completed trial of a sweep; among equals the earliest."""
        rows = self._rows(
            select(Trial.__table__)
            .where(Trial.sweep_id == sweep.id, *ranked())
            .order_by(best_first(sweep.direction)[0], Trial.number)
            .limit(1)
        )
        return TrialRecord(**rows[0]) if rows else None

    def best_of_recipes(self) -> dict[str, float]:
        """The best val_accuracy of each recipe that was run whole, by the recipe's name."""
        recipe, shortened = Sweep.spec["recipe"].as_string(), Sweep.spec["shortened"].as_boolean()
        rows = self._rows(
            select(recipe.label("recipe_name"), func.max(Trial.score).label("score"))
            .where(
                Trial.sweep_id == Sweep.id,
                recipe.is_not(None),
                shortened.is_(False),
                Sweep.metric == "val_accuracy",
                *ranked(),
            )
            .group_by("recipe_name")  # PostgreSQL takes two equal JSON paths for different ones
        )
        return {row["recipe_name"]: row["score"] for row in rows}

    def orders(self, sweep_id: str) -> Orders:
        """How many trials a sweep has now, and what another terminal asks of its driver."""
        (row,) = self._rows(select(Sweep.spec, Sweep.request).where(Sweep.id == sweep_id))
        return Orders(int(row["spec"]["trials"]), row["request"])

    def attempts(self, sweep_id: str) -> list[AttemptRecord]:
        """Every attempt of a sweep's trials that began, a trial's in their order."""
        rows = self._rows(
            select(Attempt.__table__)
            .where(Attempt.sweep_id == sweep_id)
            .order_by(Attempt.trial_id, Attempt.attempt)
        )
        return [AttemptRecord(**row) for row in rows]

    def epochs(self, trial_id: str) -> list[EpochRecord]:
        """A trial's epochs, each once.

        An attempt takes the place of those before it from its first epoch on: it went on from
        where they were saved.
        """
        rows = self._rows(
            select(Epoch.__table__)
            .where(Epoch.trial_id == trial_id)
            .order_by(Epoch.attempt.desc(), Epoch.epoch)
        )
        found: list[EpochRecord] = []
        for _, attempt in groupby(rows, key=lambda row: row["attempt"]):
            first = found[0].epoch if found else math.inf
            found[:0] = [EpochRecord(**row) for row in attempt if row["epoch"] < first]
        return found

    def boards(self, dataset: str | None, top: int) -> list[Board]:
        """The best completed trials of each board, the board of the newest sweep first."""

        def read(connection: Connection) -> list[Board]:
            wanted = {"dataset": dataset} if dataset else {}
            found = _dicts(connection, BOARDS_OF if dataset else BOARDS, wanted)
            return _ranked_boards(connection, found, top)

        return self._run(read) if self._engine is not None else []

    def _with_counts(self, rows: Iterable[dict[str, Any]]) -> list[SweepRecord]:
        rows = list(rows)
        counts: dict[str, dict[str, int]] = defaultdict(dict)
        for row in self._rows(
            select(Trial.sweep_id, Trial.state, func.count().label("count"))
            .where(Trial.sweep_id.in_([row["id"] for row in rows]))
            .group_by(Trial.sweep_id, Trial.state)
        ):
            counts[row["sweep_id"]][row["state"]] = row["count"]
        now = self._rows(select(Instant().label("now")))[0]["now"] if rows else 0.0
        for row in rows:
            row["state"] = _state(row, now)
        return [SweepRecord(**row, trials=counts[row["id"]]) for row in rows]

    def _rows(self, statement: Select[*tuple[Any, ...]]) -> list[dict[str, Any]]:
        if self._engine is None:
            return []
        return self._run(lambda connection: _dicts(connection, statement, {}))

    def _run(self, action: Callable[[Connection], T]) -> T:
        assert self._engine is not None
        return retry.run(self._engine, action, RETRY_SECONDS)


def _dicts(
    connection: Connection, statement: Select[*tuple[Any, ...]], values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(statement, values).mappings()]


def _state(row: Mapping[str, Any], now: float) -> str:
    """A sweep's state; one whose driver has not been heard of for too long is interrupted."""
    alive = row["held_until"] is not None and now <= row["held_until"] <= now + LONGEST_HOLD
    return "interrupted" if row["state"] == "running" and not alive else row["state"]


def ranked() -> tuple[ColumnElement[bool], ...]:
    """Trials that may be ranked."""
    return Trial.state == "completed", Trial.score.is_not(None)


def best_first(direction: str) -> list[ColumnElement[Any]]:
    """The order of a leaderboard."""
    order = (Trial.score, Trial.id)
    return [column.desc() if direction == "maximize" else column.asc() for column in order]


def _boards(*conditions: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """The boards of sweeps, that of the newest first."""
    columns = Sweep.board, Sweep.dataset, Sweep.metric, Sweep.direction
    newest = func.max(Sweep.created_at)
    return select(*columns).where(*conditions).group_by(*columns).order_by(newest.desc())


def _best(direction: str) -> Select[*tuple[Any, ...]]:
    """The best trials of a board."""
    found = select(Trial.__table__).where(Trial.board == bindparam("board"), *ranked())
    return found.order_by(*best_first(direction)).limit(bindparam("top"))


# Building a statement takes longer than running it, and a leaderboard is asked for often.
BOARDS, BOARDS_OF = _boards(), _boards(Sweep.dataset == bindparam("dataset"))
BEST = {direction: _best(direction) for direction in ("maximize", "minimize")}
SWEEPS = select(Sweep.__table__).where(Sweep.id.in_(bindparam("ids", expanding=True)))


def _ranked_boards(connection: Connection, found: list[dict[str, Any]], top: int) -> list[Board]:
    """Boards with their best trials, and the sweeps of these."""
    best = [
        tuple(
            TrialRecord(**row)
            for row in _dicts(
                connection, BEST[each["direction"]], {"board": each["board"], "top": top}
            )
        )
        for each in found
    ]
    ids = {trial.sweep_id for rows in best for trial in rows}
    sweeps = {
        row["id"]: SweepRecord(**row) for row in _dicts(connection, SWEEPS, {"ids": list(ids)})
    }
    return [_board(each, rows, sweeps) for each, rows in zip(found, best, strict=True)]


def _board(
    row: dict[str, Any], rows: tuple[TrialRecord, ...], sweeps: Mapping[str, SweepRecord]
) -> Board:
    own = {trial.sweep_id: sweeps[trial.sweep_id] for trial in rows}
    limit = sweeps[rows[0].sweep_id].spec.get("limit") if rows else None
    return Board(**row, limit=limit, rows=rows, sweeps=own)


def _one(kind: str, prefix: str, rows: list[dict[str, Any]]) -> None:
    if len(rows) > 1:
        raise NotUniqueError(
            f"several {kind}s have an id that begins with {prefix!r}", "give more characters of it"
        )
