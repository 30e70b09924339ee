"""The life of a sweep: start, run, interrupt, resume, end.

The driver is the process that runs this; it alone writes to the database. The search decides,
the cluster runs, the director between them records.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from orch import __version__, forecast, registry
from orch.contracts import Progress
from orch.costs import Expected
from orch.director import SweepRun, Watcher, now
from orch.errors import InterruptedSweepError, NotFoundError, PluginError, UsageError
from orch.home import Home, locked
from orch.interrupts import Interrupts
from orch.search import Ending, Search, Tried
from orch.settings import Settings
from orch.space import render_value
from orch.spec import PlannedSweep, SweepRequest, SweepSpec, plan_sweep
from orch.training.checkpoints import Kept
from orch.training.workbench import Keeping
from orch_db.queries import Queries
from orch_db.records import SweepRecord, TrialRecord
from orch_db.store import Store

RECORDED = ("keras", "tensorflow", "jax", "torch", "numpy", "ray", "optuna", "sqlalchemy")


def start(
    planned: PlannedSweep, settings: Settings, home: Home, store: Store, watcher: Watcher
) -> None:
    """Record a new sweep and run it to its end.

    Raises:
        UsageError: the search cannot be set up; nothing was recorded.
        InterruptedSweepError: after Ctrl-C or SIGTERM; everything that ended is recorded.
        ClusterError: Ray could not be started or gave up.
    """
    expected = _expected(planned, settings, home)
    if expected is not None:
        planned = replace(planned, spec=replace(planned.spec, stored_cuts=expected.stored_cuts))
    spec = planned.spec
    search = _search(spec, (), ())
    store.add_sweep(
        SweepRecord(
            id=spec.id,
            name=spec.name,
            state="running",
            dataset=spec.dataset,
            strategy=spec.strategy,
            backbone=spec.backbone,
            metric=spec.objective.metric,
            direction=spec.objective.direction,
            board=spec.board,
            spec=spec.to_json(),
            versions=versions(spec),
            git_commit=_git_commit(),
            created_at=now(),
            expected_seconds=expected.stored if expected else None,
        )
    )
    with _alone(spec, home):
        _run(planned, search, (), settings, home, store, watcher)


def resume(
    planned: PlannedSweep,
    settings: Settings,
    home: Home,
    store: Store,
    queries: Queries,
    watcher: Watcher,
) -> None:
    """Go on with a sweep: what ended stays, the rest runs; the search learns from the rows.

    Raises:
        UsageError: another process runs it.
        InterruptedSweepError, ClusterError: as `start`.
    """
    spec = planned.spec
    with _alone(spec, home):
        store.requeue(spec.id)
        former = tuple(queries.trials(spec.id))
        ended = [trial for trial in former if trial.state != "queued"]
        search = _search(spec, tuple(_tried(each, queries, spec) for each in ended), former)
        store.set_sweep_state(spec.id, "running", None)
        _run(planned, search, former, settings, home, store, watcher)


def _expected(planned: PlannedSweep, settings: Settings, home: Home) -> Expected | None:
    """What it will take, where that is known; a depth that makes no plan is its trial's affair."""
    try:
        return forecast.expect(planned, settings, home, None)
    except (PluginError, UsageError):
        return None


@contextmanager
def _alone(spec: SweepSpec, home: Home) -> Generator[None]:
    """Make sure that no other process on this machine runs the sweep."""
    try:
        with locked(home.locks / f"sweep-{spec.id}", wait=False):
            yield
    except BlockingIOError:
        raise UsageError(
            f"sweep {spec.id[:6]} is being run by another process; nothing was started",
            f"orch sweeps show {spec.id[:6]}",
        ) from None


def _search(spec: SweepSpec, tried: tuple[Tried, ...], former: tuple[TrialRecord, ...]) -> Search:
    waiting = {trial.number: trial.params for trial in former if trial.state == "queued"}
    return Search(
        spec.domains,
        spec.first,
        spec.objective,
        spec.sampler,
        spec.pruner,
        spec.seed,
        tried,
        waiting,
    )


def plan_again(
    record: SweepRecord, settings: Settings, home: Home, progress: Progress
) -> PlannedSweep:
    """Check that an unfinished sweep can go on with the same data and weights.

    Raises:
        UsageError: it has completed, or what it was made for has changed.
    """
    spec = SweepSpec.from_json(record.spec)
    if record.state == "completed":
        raise UsageError(
            f"sweep {record.id[:6]} has completed; there is nothing left to run",
            f"orch sweeps show {record.id[:6]}",
        )
    request = SweepRequest(
        spec.dataset,
        spec.strategy,
        spec.backbone,
        spec.name,
        spec.limit,
        spec.seconds,
        spec.objective.metric,
        spec.space,
        {name: render_value(value) for name, value in spec.dataset_options.items()},
    )
    planned = plan_sweep(request, settings, home, progress)
    gained = sorted(planned.spec.space.keys() ^ spec.space.keys())
    if gained:
        raise UsageError(
            f"the strategy {spec.strategy} has other parameters now ({', '.join(gained)}): "
            f"sweep {record.id[:6]} cannot go on; its results are safe",
            f"start a new one: orch sweep {spec.dataset}",
        )
    for what in ("dataset_digest", "weights_digest"):
        then, now_is = getattr(spec, what), getattr(planned.spec, what)
        if then != now_is:
            raise UsageError(
                f"{what.replace('_', ' ')} was {then[:12]}, now it is {now_is[:12]}: "
                f"sweep {record.id[:6]} cannot go on; its results are safe",
                f"start a new one: orch sweep {spec.dataset}",
            )
    return replace(planned, spec=spec)


def _run(
    planned: PlannedSweep,
    search: Search,
    former: tuple[TrialRecord, ...],
    settings: Settings,
    home: Home,
    store: Store,
    watcher: Watcher,
) -> None:
    from orch.cluster.connection import connecting
    from orch.cluster.slots import Demand, divide

    spec, interrupts, state = planned.spec, Interrupts(), "failed"
    demand = Demand(settings.concurrent, settings.gpus_per_trial, settings.cpus_per_trial)
    with interrupts.listen():
        try:
            with connecting(settings.ray_address, home.logs) as connected:
                from orch.cluster import dispatch  # takes as long as Ray to start

                there = connected()
                slots = divide(there.cpus, there.gpus, there.memory, demand, spec.trials)
                # Tune hands a warm worker on only if the next trial is there already.
                ahead = 0 if slots.spare else 1
                in_flight = slots.concurrent + ahead
                kept = Kept(home.checkpoints, spec.keep, spec.objective)
                run = SweepRun(
                    spec, search, store, watcher, planned.problem, interrupts, in_flight, kept
                )
                run.recall(former)
                dispatch.run(run, home, slots, keeping(settings))
                run.close()
            if interrupts.draining or run.late:
                state = "stopped"
            elif run.counts.get("completed"):
                state = "completed"
        finally:
            store.requeue(spec.id)
            store.set_sweep_state(spec.id, "stopped" if interrupts.draining else state, now())
    if interrupts.draining:
        raise InterruptedSweepError(
            f"sweep {spec.id[:6]} was interrupted; "
            f"{sum(run.counts.values())} of {spec.trials} trials have ended and are saved",
            f"orch sweeps resume {spec.id[:6]}",
            signal=interrupts.signal,
        )


def keeping(settings: Settings) -> Keeping:
    """How the store is kept."""
    return Keeping(settings.cache_bytes, settings.verify_store, settings.store_features)


def _tried(trial: TrialRecord, queries: Queries, spec: SweepSpec) -> Tried:
    ending = "not finite" if trial.failure_kind == "not finite" else trial.state
    return Tried(
        trial.number,
        trial.params,
        cast(Ending, ending),
        trial.score,
        {e.epoch: e.metrics[spec.objective.metric] for e in queries.epochs(trial.id)},
    )


def versions(spec: SweepSpec) -> dict[str, str]:
    """What this sweep runs with: orch, Python, libraries, plugins, machine."""
    found = {"orch": __version__, "python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["backend"] = os.environ.get("KERAS_BACKEND", "tensorflow")
    found["dataset"] = registry.version(registry.DATASETS, spec.dataset)
    found["strategy"] = registry.version(registry.STRATEGIES, spec.strategy)
    found["machine"] = f"{platform.system()} {platform.machine()} {os.cpu_count()} cores"
    return found


def _git_commit() -> str | None:
    """The commit of the working folder's repository, if there is one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def require_trial(queries: Queries, prefix: str) -> tuple[TrialRecord, SweepRecord]:
    """The trial whose id begins with `prefix`, and its sweep.

    Raises:
        NotFoundError: there is none.
    """
    found = queries.trial(prefix)
    sweep = queries.sweep(found.sweep_id) if found else None
    if found is None or sweep is None:
        raise NotFoundError(f"no trial has an id that begins with {prefix!r}", "orch trials")
    return found, sweep


def require_sweep(queries: Queries, prefix: str) -> SweepRecord:
    """The sweep whose id begins with `prefix`.

    Raises:
        NotFoundError: there is none.
    """
    found = queries.sweep(prefix)
    if found is None:
        raise NotFoundError(f"no sweep has an id that begins with {prefix!r}", "orch sweeps")
    return found
