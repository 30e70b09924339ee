"""The life of a sweep: start, run, interrupt, resume, end.

The driver is the process that runs this; it alone writes to the database. The search decides,
the cluster runs, the director between them records.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from orch import __version__, registry
from orch.contracts import Problem, Progress
from orch.director import SweepRun, Watcher, now
from orch.errors import InterruptedSweepError, NotFoundError, UsageError
from orch.home import Home
from orch.interrupts import Interrupts
from orch.search import Ending, Search, Tried
from orch.settings import Settings
from orch.spec import PlannedSweep, SweepRequest, SweepSpec, plan_sweep
from orch_db.queries import Queries
from orch_db.records import SweepRecord, TrialRecord
from orch_db.store import Store

RECORDED = ("keras", "tensorflow", "jax", "torch", "numpy", "ray", "optuna", "sqlalchemy")


def start(
    planned: PlannedSweep, settings: Settings, home: Home, store: Store, watcher: Watcher
) -> None:
    """Record a new sweep and run it to its end.

    Raises:
        InterruptedSweepError: after Ctrl-C or SIGTERM; everything that ended is recorded.
        ClusterError: Ray could not be started or gave up.
    """
    spec = planned.spec
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
        )
    )
    _run(spec, planned.problem, (), (), settings, home, store, watcher)


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
        InterruptedSweepError, ClusterError: as `start`.
    """
    spec = planned.spec
    store.requeue(spec.id)
    store.set_sweep_state(spec.id, "running", None)
    trials = queries.trials(spec.id)
    waiting = tuple(trial for trial in trials if trial.state == "queued")
    ended = tuple(trial for trial in trials if trial.state != "queued")
    tried = tuple(_tried(trial, queries, spec) for trial in ended)
    _run(spec, planned.problem, ended + waiting, tried, settings, home, store, watcher)


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
    )
    planned = plan_sweep(request, settings, home, progress)
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
    spec: SweepSpec,
    problem: Problem,
    former: tuple[TrialRecord, ...],
    tried: tuple[Tried, ...],
    settings: Settings,
    home: Home,
    store: Store,
    watcher: Watcher,
) -> None:
    from orch import cluster

    waiting = {trial.number: trial.params for trial in former if trial.state == "queued"}
    search = Search(
        spec.domains,
        spec.first,
        spec.objective,
        spec.sampler,
        spec.pruner,
        spec.seed,
        tried,
        waiting,
    )
    demand = cluster.Demand(settings.concurrent, settings.gpus_per_trial, settings.cpus_per_trial)
    interrupts = Interrupts()
    state = "stopped"
    with interrupts.listen():
        try:
            with cluster.connected(settings.ray_address) as (cpus, gpus, memory):
                slots = cluster.divide(cpus, gpus, memory, demand, spec.trials)
                in_flight = slots.concurrent + (0 if slots.spare else 1)
                run = SweepRun(spec, search, store, watcher, problem, interrupts, in_flight)
                run.recall(former)
                cluster.run(run, home, slots, settings.verify_store)
            if not interrupts.draining:
                state = "completed" if run.counts.get("completed") else "failed"
        finally:
            store.requeue(spec.id)
            store.set_sweep_state(spec.id, state, now())
    if interrupts.draining:
        raise InterruptedSweepError(
            f"sweep {spec.id[:6]} was interrupted; "
            f"{sum(run.counts.values())} of {spec.trials} trials have ended and are saved",
            f"orch sweeps resume {spec.id[:6]}",
            signal=interrupts.signal,
        )


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


def require_sweep(queries: Queries, prefix: str) -> SweepRecord:
    """The sweep whose id begins with `prefix`.

    Raises:
        NotFoundError: there is none.
    """
    found = queries.sweep(prefix)
    if found is None:
        raise NotFoundError(f"no sweep has an id that begins with {prefix!r}", "orch sweeps")
    return found
