"""The life of a sweep: start, run, interrupt, resume, end.

The driver is the process that runs this; it alone writes to the database while it runs. The
search decides, the cluster runs, the director between them records.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from orch.clock import now
from orch.errors import (
    ClusterError,
    NotFoundError,
    OrchError,
    PluginError,
    StorageError,
    UsageError,
    first_line,
)
from orch.home import Home
from orch.planning import disk, forecast
from orch.planning.costs import Expected
from orch.planning.spec import PlannedSweep, SweepSpec
from orch.search import Ending, Search, Tried
from orch.settings import Settings
from orch.sweeps import halts
from orch.sweeps.control import Control, as_it_is, holding
from orch.sweeps.director import SweepRun
from orch.sweeps.halts import Halt
from orch.sweeps.history import Former
from orch.sweeps.interrupts import Interrupts
from orch.sweeps.progress import Watcher
from orch.sweeps.provenance import git_commit, versions
from orch.sweeps.retries import INFEASIBLE, Limits
from orch.training.checkpoints import Kept
from orch.training.workbench import Keeping
from orch_db.errors import DatabaseError, LostSweepError
from orch_db.queries import Queries
from orch_db.records import SweepRecord, TrialRecord
from orch_db.store import Store

if TYPE_CHECKING:
    from orch.cluster.worker import Trainer


@dataclass(frozen=True)
class Driver:
    """What one run of a sweep works with.

    `abandon` ends the process with an error, from whichever thread it is called. `trainer` takes
    the place of training, in tests that are about everything else.
    """

    settings: Settings
    home: Home
    store: Store
    queries: Queries
    watcher: Watcher
    abandon: Callable[[OrchError], NoReturn]
    trainer: Trainer | None = None


def start(driver: Driver, planned: PlannedSweep, parent: str | None = None) -> None:
    """Record a new sweep and run it to its end; `parent` is the sweep that it was forked from.

    Raises:
        UsageError: the search cannot be set up; nothing was recorded.
        StorageError: the disk has no room for what it will store; nothing was recorded.
        InterruptedSweepError: after Ctrl-C, SIGTERM or a request; what ended is recorded.
        ClusterError: Ray could not be started or gave up.
    """
    _require_room(driver, planned)
    expected = _expected(driver, planned)
    if expected is not None:
        planned = replace(planned, spec=replace(planned.spec, stored_cuts=expected.stored_cuts))
    spec = planned.spec
    search = _search(spec, (), ())
    driver.store.add_sweep(
        SweepRecord(
            id=spec.id,
            name=spec.name,
            state="queued",
            dataset=spec.dataset,
            strategy=spec.strategy,
            backbone=spec.backbone,
            metric=spec.objective.metric,
            direction=spec.objective.direction,
            board=spec.board,
            spec=spec.to_json(),
            versions=versions(spec, driver.home),
            git_commit=git_commit(),
            created_at=now(),
            expected_seconds=expected.stored if expected else None,
            parent=parent,
        )
    )
    with holding(driver.store, driver.queries, spec.id, driver.home) as control:
        _run(driver, planned, lambda: search, Former(), control)


def resume(driver: Driver, planned: PlannedSweep) -> None:
    """Go on with a sweep: what ended stays, the rest runs; the search learns from the rows.

    Raises:
        UsageError: another process runs it.
        StorageError: the disk has no room for what it will store; nothing was changed.
        InterruptedSweepError, ClusterError: as `start`.
    """
    _require_room(driver, planned)
    spec, queries = planned.spec, driver.queries
    with holding(driver.store, queries, spec.id, driver.home) as control:
        driver.store.interrupt("lost", now())  # what a killed driver left
        trials = tuple(queries.trials(spec.id))
        waiting = {each.id: tuple(queries.epochs(each.id)) for each in trials if _waits(each)}
        former = Former(trials, tuple(queries.attempts(spec.id)), waiting)

        def search() -> Search:
            ended = [trial for trial in trials if not _waits(trial)]
            return _search(spec, tuple(_tried(each, queries, spec) for each in ended), trials)

        _run(driver, planned, search, former, control)


def _waits(trial: TrialRecord) -> bool:
    return trial.state == "queued"


def _require_room(driver: Driver, planned: PlannedSweep) -> None:
    concurrent = forecast.slots_here(driver.settings, planned.spec.trials).concurrent
    try:
        needed = disk.need(planned, driver.home, concurrent, driver.settings.cache_bytes)
        disk.require(needed, driver.home)
    except (PluginError, UsageError):
        return  # a strategy that makes no plan is its trials' affair


def _expected(driver: Driver, planned: PlannedSweep) -> Expected | None:
    """What it will take, where that is known; a depth that makes no plan is its trial's affair."""
    try:
        return forecast.expect(planned, driver.settings, driver.home, None)
    except (PluginError, UsageError):
        return None


def _search(spec: SweepSpec, tried: tuple[Tried, ...], former: tuple[TrialRecord, ...]) -> Search:
    waiting = {trial.number: trial.params for trial in former if _waits(trial)}
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


def _run(
    driver: Driver,
    planned: PlannedSweep,
    search: Callable[[], Search],
    former: Former,
    control: Control,
) -> None:
    """Run a sweep that is held until it ends or stops, and let go of it.

    Raises:
        OrchError: what `halts.raised` says of the way it stopped.
    """
    spec, interrupts = planned.spec, Interrupts()
    with interrupts.listen() as attend:
        try:
            run = _directed(driver, planned, search(), former, control, interrupts, attend)
            halt = run.gave_up or (run.halt if run.unfinished else None)
            driver.store.let_go(*_state(run, halt), trials=run.spec.trials)
        except Exception as error:
            with suppress(DatabaseError):  # one that refuses all is set right by a resume
                state = "stopped" if interrupts.draining else "failed"
                driver.store.let_go(state, now(), first_line(error))
            raise _resumable(error, spec) from error
    if halt is not None:
        stopped = halts.raised(halt, interrupts, spec.id, sum(run.counts.values()), run.spec.trials)
        if stopped is not None:
            raise stopped


def _state(run: SweepRun, halt: Halt | None) -> tuple[str, str, str | None]:
    """What is recorded of a run that is over: the sweep's state, the instant, the reason."""
    if halt is not None:
        return halt.state, now(), halt.reason
    return "completed" if run.counts.get("completed") else "failed", now(), None


def _directed(
    driver: Driver,
    planned: PlannedSweep,
    search: Search,
    former: Former,
    control: Control,
    interrupts: Interrupts,
    attend: Callable[[], None],
) -> SweepRun:
    """Start Ray, run trials until nothing is left or something stops it, and end Ray."""
    from orch.cluster.connection import connecting
    from orch.cluster.slots import Demand, divide

    spec, home, settings = planned.spec, driver.home, driver.settings
    demand = Demand(settings.concurrent, settings.gpus_per_trial, settings.cpus_per_trial)

    def lost(error: ClusterError) -> NoReturn:
        with suppress(DatabaseError):  # a resume sets it right
            driver.store.let_go("failed", now(), error.message)
        driver.abandon(_lost_cluster(error, spec))

    with connecting(settings.ray_address, home.logs, lost) as connected:
        from orch.cluster import dispatch  # takes as long as Ray to start

        there = connected()
        attend()  # Ray would end this process at a SIGTERM
        slots = divide(there.cpus, there.gpus, there.memory, demand, spec.trials)
        # Tune hands a warm worker on only if the next trial is there already.
        ahead = 0 if slots.spare else 1
        run = director(driver, planned, search, control, interrupts, slots.concurrent + ahead)
        run.recall(former)
        dispatch.run(run, home, slots, keeping(settings), driver.trainer)
        run.close()
        return run


def director(
    driver: Driver,
    planned: PlannedSweep,
    search: Search,
    control: Control,
    interrupts: Interrupts,
    in_flight: int,
) -> SweepRun:
    """What decides and records; so many trials are dispatched at once."""
    spec, home, settings = planned.spec, driver.home, driver.settings
    limits = Limits(settings.hang_timeout, settings.trial_timeout, settings.max_failures_in_a_row)
    return SweepRun(
        spec=spec,
        search=search,
        store=driver.store,
        watcher=driver.watcher,
        problem=planned.problem,
        interrupts=interrupts,
        control=control,
        limits=limits,
        home=home,
        in_flight=in_flight,
        kept=Kept(home.checkpoints, spec.keep, spec.objective),
        stored=spec.stored_cuts if settings.store_features else (),
    )


def _resumable(error: Exception, spec: SweepSpec) -> Exception:
    """The same error, saying how to go on where Ray or the database was the reason."""
    again = f"orch sweeps resume {spec.id[:6]}"
    if isinstance(error, ClusterError):
        return _lost_cluster(error, spec)
    if isinstance(error, DatabaseError) and not isinstance(error, LostSweepError):
        return StorageError(error.message, f"{error.hint}; then {again}" if error.hint else again)
    return error


def _lost_cluster(error: ClusterError, spec: SweepSpec) -> ClusterError:
    return ClusterError(
        f"{error.message}; what sweep {spec.id[:6]} had finished is saved",
        f"{error.hint or 'orch doctor'}, then orch sweeps resume {spec.id[:6]}",
    )


def keeping(settings: Settings) -> Keeping:
    """How the store is kept."""
    return Keeping(
        settings.cache_bytes,
        settings.verify_store,
        settings.store_features,
        settings.checkpoint_seconds,
    )


def _tried(trial: TrialRecord, queries: Queries, spec: SweepSpec) -> Tried:
    infeasible = trial.failure_kind in INFEASIBLE
    return Tried(
        trial.number,
        trial.params,
        cast(Ending, "infeasible" if infeasible else trial.state),
        trial.score,
        {e.epoch: e.metrics[spec.objective.metric] for e in queries.epochs(trial.id)},
    )


class Findable(Protocol):
    """What finds sweeps and trials: the database, or a service."""

    def sweep(self, prefix: str) -> SweepRecord | None:
        """The sweep whose id begins so."""
        ...

    def trial(self, prefix: str) -> TrialRecord | None:
        """The trial whose id begins so."""
        ...


def require_trial(queries: Findable, prefix: str) -> tuple[TrialRecord, SweepRecord]:
    """The trial whose id begins with `prefix`, and its sweep.

    Raises:
        NotFoundError: there is none.
    """
    found = queries.trial(prefix)
    sweep = queries.sweep(found.sweep_id) if found else None
    if found is None or sweep is None:
        raise NotFoundError(f"no trial has an id that begins with {prefix!r}", "orch trials")
    return found, sweep


def require_sweep(queries: Findable, prefix: str) -> SweepRecord:
    """The sweep whose id begins with `prefix`; one whose driver is gone is interrupted.

    Raises:
        NotFoundError: there is none.
    """
    found = queries.sweep(prefix)
    if found is None:
        raise NotFoundError(f"no sweep has an id that begins with {prefix!r}", "orch sweeps")
    return as_it_is(found)
