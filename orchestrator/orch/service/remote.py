"""A service's results, read over HTTP, as the records that the database gives."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from orch.errors import NotFoundError
from orch.service.client import Client
from orch_db.records import Board, EpochRecord, SweepRecord, TrialRecord

PAGE = 500  # sweeps that are asked for at one time


class RemoteQueries:
    """What commands read of `orch_db.queries.Queries`, out of the documents of the API."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._best: dict[str, TrialRecord | None] = {}

    def sweeps(self, limit: int | None = None) -> list[SweepRecord]:
        """Sweeps, newest first."""
        found: list[SweepRecord] = []
        before = ""
        while limit is None or len(found) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            query = {"limit": size, "before": before}
            document = self._client.ask("GET", "/sweeps", query=query)
            found += map(self._sweep, document["sweeps"])
            before = document["next"]
            if not before:
                break
        return found

    def sweep(self, prefix: str) -> SweepRecord | None:
        """The sweep whose id begins with `prefix`."""
        try:
            return self._sweep(self._client.ask("GET", f"/sweeps/{prefix}"))
        except NotFoundError:
            return None

    def trials(self, sweep_id: str) -> list[TrialRecord]:
        """A sweep's trials, in the order they were suggested."""
        document = self._client.ask("GET", "/trials", query={"sweep": sweep_id})
        return [trial(each) for each in document["trials"]]

    def best(self, sweep: SweepRecord) -> TrialRecord | None:
        """The best completed trial of a sweep."""
        if sweep.id not in self._best:
            self.sweep(sweep.id)
        return self._best.get(sweep.id)

    def trial(self, prefix: str) -> TrialRecord | None:
        """The trial whose id begins with `prefix`."""
        try:
            return trial(self._client.ask("GET", f"/trials/{prefix}"))
        except NotFoundError:
            return None

    def epochs(self, trial_id: str) -> list[EpochRecord]:
        """A trial's epochs, each once."""
        document = self._client.ask("GET", f"/trials/{trial_id}")
        attempt = int(document["attempt"])
        return [
            EpochRecord(trial_id=trial_id, attempt=attempt, reported_at="", **each)
            for each in document["epochs"]
        ]

    def boards(self, dataset: str | None, top: int) -> list[Board]:
        """The best completed trials of each board."""
        query = {"dataset": dataset or "", "top": top}
        document = self._client.ask("GET", "/leaderboard", query=query)
        sweeps = {each["id"]: each for each in document["sweeps"]}
        groups = groupby(document["rows"], key=lambda row: row["board"])
        return [_board(list(rows), sweeps) for _, rows in groups]

    def close(self) -> None:
        """Nothing is open."""

    def _sweep(self, document: Mapping[str, Any]) -> SweepRecord:
        best = document["best"]
        self._best[document["id"]] = trial(best) if best else None
        return sweep(document)


def sweep(document: Mapping[str, Any]) -> SweepRecord:
    """A sweep out of its document."""
    counts = document["trials"]
    if isinstance(counts, list):
        states: list[str] = [each["state"] for each in counts]  # pyright: ignore[reportUnknownVariableType]
        counts = {state: states.count(state) for state in states}
    same = ("id", "name", "state", "dataset", "strategy", "backbone", "board", "versions")
    same += ("git_commit", "created_at", "finished_at", "expected_seconds", "reason", "parent")
    return SweepRecord(
        **{name: document[name] for name in (*same, "spec", "request")},
        **document["objective"],
        trials=counts,
    )


def trial(document: Mapping[str, Any]) -> TrialRecord:
    """A trial out of its document."""
    failure = document["failure"] or {}
    same = ("id", "number", "state", "score", "params", "metrics", "seconds", "best_epoch")
    same += ("attempt", "seed", "cut", "created_at", "started_at", "finished_at")
    known = {"frozen_layers": document["frozen"], "epochs": document["planned_epochs"]}
    return TrialRecord(
        **{name: document[name] for name in same},
        sweep_id=document["sweep"],
        board="",
        plan=document.get("plan") or {"stages": [known]},
        failure_kind=failure.get("kind"),
        failure_message=failure.get("message"),
        traceback=document.get("traceback"),
        worker=document.get("worker"),
    )


def _board(rows: list[Any], sweeps: Mapping[str, Mapping[str, Any]]) -> Board:
    first = rows[0]
    ranked = {row["sweep"]: _sweep_of_board(first, sweeps[row["sweep"]]) for row in rows}
    return Board(
        board=first["board"],
        dataset=first["dataset"],
        metric=first["metric"],
        direction=ranked[first["sweep"]].direction,
        limit=first["limit"],
        rows=tuple(trial(row) for row in rows),
        sweeps=ranked,
    )


def _sweep_of_board(row: Mapping[str, Any], known: Mapping[str, Any]) -> SweepRecord:
    """What a leaderboard says of a sweep."""
    same = ("id", "name", "strategy", "backbone", "direction")
    return SweepRecord(
        **{name: known[name] for name in same},
        **{name: row[name] for name in ("dataset", "metric", "board")},
        state="",
        spec={"space": known["space"], "dataset_options": row["dataset_options"]},
        versions={},
        git_commit=None,
        created_at="",
    )
