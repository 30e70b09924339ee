"""Records as documents: the JSON that every door of orch shows, whose keys keep their meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orch import probing, registry
from orch.catalog import Installed
from orch.contracts import DatasetFacts, Option
from orch.errors import OrchError
from orch.home import Home
from orch_db.records import (
    Board,
    EpochRecord,
    FireRecord,
    JobRecord,
    NoticeRecord,
    ScheduleRecord,
    SweepRecord,
    TrialRecord,
)

if TYPE_CHECKING:
    from orch.probing import State
    from orch.training.eviction import Stored

SCHEMA_VERSION = 1


def document(**content: Any) -> dict[str, Any]:
    """One JSON object with the version of its schema."""
    return {"schema_version": SCHEMA_VERSION, **content}


def sweep(
    record: SweepRecord, best: TrialRecord | None, trials: Iterable[TrialRecord] | None = None
) -> dict[str, Any]:
    """A sweep; `trials` is a list where they are given, else the count of each state."""
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state,
        "dataset": record.dataset,
        "strategy": record.strategy,
        "backbone": record.backbone,
        "objective": {"metric": record.metric, "direction": record.direction},
        "best": trial(best) if best else None,
        "trials": dict(record.trials) if trials is None else [trial(each) for each in trials],
        "limit": record.spec.get("limit"),
        "dataset_options": record.spec.get("dataset_options") or {},
        "space": record.spec.get("space"),
        "seed": record.spec.get("seed"),
        "board": record.board,
        "versions": dict(record.versions),
        "git_commit": record.git_commit,
        "created_at": record.created_at,
        "finished_at": record.finished_at,
        "expected_seconds": record.expected_seconds,
        "reason": record.reason,
        "parent": record.parent,
        "request": record.request,
        "spec": dict(record.spec),
    }


def took(trials: Iterable[TrialRecord]) -> float | None:
    """Seconds from the start of the first trial to the end of the last."""
    ran = [(each.started_at, each.finished_at) for each in trials]
    starts = [datetime.fromisoformat(start) for start, _ in ran if start]
    ends = [datetime.fromisoformat(end) for _, end in ran if end]
    return (max(ends) - min(starts)).total_seconds() if starts and ends else None


def trial(record: TrialRecord, epochs: Iterable[EpochRecord] | None = None) -> dict[str, Any]:
    """A trial, with its epochs where they are given."""
    failure = None
    if record.failure_kind:
        failure = {"kind": record.failure_kind, "message": record.failure_message}
    shown: dict[str, Any] = {
        "id": record.id,
        "number": record.number,
        "state": record.state,
        "score": record.score,
        "params": dict(record.params),
        "metrics": dict(record.metrics),
        "failure": failure,
        "seconds": record.seconds,
        "sweep": record.sweep_id,
        "frozen": frozen(record),
        "best_epoch": record.best_epoch,
        "attempt": record.attempt,
        "seed": record.seed,
        "cut": record.cut,
        "planned_epochs": sum(stage["epochs"] for stage in record.plan.get("stages", ())),
        "created_at": record.created_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }
    if epochs is not None:
        shown |= {
            "plan": dict(record.plan),
            "traceback": record.traceback,
            "worker": record.worker,
            "epochs": [
                {
                    "epoch": e.epoch,
                    "stage": e.stage,
                    "metrics": dict(e.metrics),
                    "seconds": e.seconds,
                }
                for e in epochs
            ],
        }
    return shown


def job(record: JobRecord) -> dict[str, Any]:
    """The place of a sweep in the queue, or how its process ended."""
    return {
        "sweep": record.sweep_id,
        "state": record.state,
        "priority": record.priority,
        "after": record.after,
        "tries": record.tries,
        "service": record.service,
        "exit_code": record.exit_code,
        "message": record.message,
        "created_at": record.created_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    }


def schedule(record: ScheduleRecord) -> dict[str, Any]:
    """A schedule: when, what, and how it deals with what comes together."""
    return {
        "id": record.id,
        "name": record.name,
        "cron": record.cron,
        "timezone": record.timezone,
        "sweep": dict(record.words),
        "overlap": record.overlap,
        "catch_up": record.catch_up,
        "mode": record.mode,
        "window": record.window_seconds,
        "jitter": record.jitter_seconds,
        "priority": record.priority,
        "until": record.until,
        "last_sweep": record.sweep_id,
        "created_at": record.created_at,
    }


def fire(record: FireRecord) -> dict[str, Any]:
    """An instant of a schedule and what became of it."""
    return {
        "due_at": record.due_at,
        "state": record.state,
        "reason": record.reason,
        "late_seconds": record.late_seconds,
        "instants": record.instants,
        "sweep": record.sweep_id,
    }


def notice(record: NoticeRecord) -> dict[str, Any]:
    """Something that was told to a target, or is to be."""
    return {
        "id": record.id,
        "event": record.event,
        "target": record.target,
        "payload": dict(record.payload),
        "tries": record.tries,
        "error": record.error,
        "created_at": record.created_at,
        "delivered_at": record.delivered_at,
    }


def frozen(record: TrialRecord) -> int | None:
    """How many leading layers were frozen in the last stage."""
    stages = record.plan.get("stages") or ()
    return stages[-1]["frozen_layers"] if stages else None


def leaderboard(boards: Iterable[Board]) -> dict[str, Any]:
    """Ranked trials, and their sweeps; rank counts within one board, since only its rows are
    comparable.
    """
    boards = list(boards)
    rows = [
        {
            "rank": rank,
            **trial(row),
            "board": board.board,
            "dataset": board.dataset,
            "metric": board.metric,
            "limit": board.limit,
            "dataset_options": board.sweeps[row.sweep_id].spec.get("dataset_options") or {},
            "strategy": board.sweeps[row.sweep_id].strategy,
            "backbone": board.sweeps[row.sweep_id].backbone,
        }
        for board in boards
        for rank, row in enumerate(board.rows, start=1)
    ]
    sweeps = {each.id: each for board in boards for each in board.sweeps.values()}
    return {"rows": rows, "sweeps": [_sweep_of_board(each) for each in sweeps.values()]}


def _sweep_of_board(record: SweepRecord) -> dict[str, Any]:
    """What a leaderboard says of a sweep, once for all its trials."""
    return {
        "id": record.id,
        "name": record.name,
        "strategy": record.strategy,
        "backbone": record.backbone,
        "direction": record.direction,
        "space": record.spec.get("space"),
    }


def chosen_options(home: Home, dataset: str, spec: Mapping[str, Any], patience: float) -> list[str]:
    """The options of a sweep's dataset that are not its defaults, as "name=value".

    A plugin that is not known yet may take `patience` seconds to say what its defaults are.
    """
    options: Mapping[str, Any] = spec.get("dataset_options") or {}
    known = {each.name: each.default for each in _known_options(home, dataset, patience)}
    return [f"{n}={value(v)}" for n, v in options.items() if n not in known or known[n] != v]


def _known_options(home: Home, dataset: str, patience: float) -> tuple[Option, ...]:
    """The options of a plugin, or those that users' own data can have."""
    try:
        if dataset in registry.dataset_names():
            known = probing.datasets(home, patience).facts.get(dataset)
            return known.options if known else ()
        kinds = [registry.load_kind(name) for name in registry.kind_names()]
    except OrchError:  # the plugin is gone; its results are not
        return ()
    return tuple(option for kind in kinds for option in kind.options)


def dataset(facts: DatasetFacts, installed: Installed | None) -> dict[str, Any]:
    """A dataset: its facts, and what is present of it."""
    return {
        "name": facts.name,
        "title": facts.title,
        "present": installed is not None,
        "classes": list(facts.classes),
        "splits": installed.examples if installed else None,
        "bytes": installed.bytes if installed else None,
        "digest": installed.digest if installed else None,
        "backbone": facts.backbone,
        "options": {option.name: option.default for option in facts.options},
        "recipes": [f"{facts.name}/{recipe.name}" for recipe in facts.recipes],
        "licence": facts.licence,
        "homepage": facts.homepage,
    }


def plugin(state: State) -> dict[str, Any]:
    """A plugin, as far as is known without importing it."""
    return {
        "name": state.name,
        "kind": state.plugin.kind,
        "distribution": state.plugin.distribution,
        "version": state.plugin.version,
        "file": str(state.file) if state.file else None,
        "state": state.word,
        "why": state.why or None,
    }


def stored_array(found: Stored) -> dict[str, Any]:
    """An array of the store."""
    return {
        "id": found.address,
        "title": found.title,
        "state": found.state,
        "examples": found.rows,
        "bytes": found.bytes,
        "seconds": found.seconds,
        "hits": found.hits,
        "sweeps": list(found.users),
        "last_used": datetime.fromtimestamp(found.last_used, UTC).isoformat(),
        "in_use": found.held,
    }


def ranked(direction: str, trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials with a score, best first; completed ones before pruned ones."""
    sign = -1.0 if direction == "maximize" else 1.0

    def order(each: TrialRecord) -> tuple[bool, float, int]:
        return each.state != "completed", sign * (each.score or 0.0), each.number

    return sorted((each for each in trials if each.score is not None), key=order)


def value(content: Any) -> str:
    """A parameter or metric as a short text."""
    return f"{content:.4g}" if isinstance(content, float) else str(content)


def searched(space: Mapping[str, str] | None) -> list[str]:
    """The names of the parameters that a sweep searched, not fixed."""
    return [name for name, text in (space or {}).items() if "(" in text]
