"""Runs the sweeps that are queued: takes them in their order, starts them, sees how they end."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field, replace

from orch.clock import now
from orch.home import Home
from orch.service import notices, processes
from orch.settings import Settings
from orch_db.jobs import LOST
from orch_db.records import JobRecord, SweepRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore
from orch_db.transitions import UNPLANNED

HOLD_SECONDS = 60.0
GONE = "its process is gone"
SERVICE_GONE = "the service that ran it is gone"
OVER = ("completed", "cancelled", "stopped", "paused")  # states that somebody else has told


@dataclass
class Runner:
    """The queue as one service works through it."""

    store: ServiceStore
    queries: ServiceQueries
    settings: Settings
    home: Home
    name: str
    _children: dict[str, subprocess.Popen[bytes]] = field(
        default_factory=dict[str, subprocess.Popen[bytes]]
    )
    _bests: dict[str, str] = field(default_factory=dict[str, str])

    def tick(self) -> None:
        """See what ended, take over what another service left, start what may start.

        Raises:
            DatabaseError: the database refused; nothing is half recorded.
        """
        self.store.hold(HOLD_SECONDS)
        for job in self.queries.jobs("running"):
            if job.service == self.name:
                self._look_at(job)
        self._take_over()
        while job := self.store.claim(self.settings.sweeps_at_once, HOLD_SECONDS, now()):
            self._start(job)

    def _start(self, job: JobRecord) -> None:
        child = processes.start(self.home, job.sweep_id, job.flags)
        self._children[job.sweep_id] = child
        self.store.started(job.sweep_id, processes.identity(child.pid))

    def _look_at(self, job: JobRecord) -> None:
        """Record the end of a process that could not record it itself."""
        self._tell_best(job.sweep_id)
        child = self._children.get(job.sweep_id)
        code = child.poll() if child else None
        if child is not None and code is None:
            return
        self._children.pop(job.sweep_id, None)
        if code is not None and code >= 0 and job.process:
            end(self.store, self.queries, self.settings, job, job.process, code)
        elif code is not None or not job.process or not processes.is_alive(job.process):
            self._lose(job, self.name)

    def _lose(self, job: JobRecord, service: str) -> None:
        """Queue a job again whose process is gone; tell of it when that was the last time."""
        if self.store.lose(job.sweep_id, service, GONE, now()) == "ended":
            self._tell_lost(job.sweep_id, GONE)

    def _tell_lost(self, sweep_id: str, why: str) -> None:
        sweep = self.queries.sweep(sweep_id)
        if sweep is not None and sweep.state not in OVER:
            lost = _failed(sweep, why)
            self.store.tell(notices.ended(self.settings, lost, LOST, self.queries.best(sweep)))

    def _tell_best(self, sweep_id: str) -> None:
        """Queue a notice where a trial of a running sweep leads its board, and others are there."""
        sweep = self.queries.sweep(sweep_id)
        best = self.queries.best(sweep) if sweep else None
        if sweep is None or best is None or self._bests.get(sweep_id) == best.id:
            return
        self._bests[sweep_id] = best.id
        leads = self.queries.leader_of_board(sweep.board, sweep.direction)
        if leads is not None and leads.id == best.id:
            self.store.tell(notices.new_best(self.settings, sweep, best))

    def _take_over(self) -> None:
        """Adopt processes of this machine whose service is gone; queue again what nobody runs."""
        for job in self.queries.jobs("running"):
            if job.service and job.service != self.name and is_gone(job.service):
                self._take_from(job, job.service)
        for sweep_id in self.store.recover(SERVICE_GONE, now()):
            job = self.queries.job(sweep_id)
            if job is not None and job.state == "ended":
                self._tell_lost(sweep_id, SERVICE_GONE)

    def _take_from(self, job: JobRecord, service: str) -> None:
        if job.process and processes.is_alive(job.process):
            self.store.adopt(job, HOLD_SECONDS)
        else:
            self._lose(job, service)


def end(
    store: ServiceStore,
    queries: ServiceQueries,
    settings: Settings,
    job: JobRecord,
    process: str,
    code: int,
    message: str = "",
) -> None:
    """Record how a job's process ended, and tell of it; both it and the service may say so.

    A sweep that was given more trials while its last ones ended is queued again.
    """
    sweep = queries.sweep(job.sweep_id)
    if sweep is not None and code and (sweep.board, sweep.state) == (UNPLANNED, "queued"):
        sweep = _failed(sweep, message)  # as `end_job` records it: it was never planned
    told = notices.ended(settings, sweep, code, queries.best(sweep)) if sweep else ()
    if not store.end_job(job.sweep_id, process, code, message, now(), told) or sweep is None:
        return
    if code == 0 and sweep.state == "stopped" and sweep.reason is None:
        store.enqueue(sweep.id, job.flags, now(), job.priority)


def _failed(sweep: SweepRecord, why: str) -> SweepRecord:
    return replace(sweep, state="failed", reason=why or None, finished_at=now())


def is_gone(service: str) -> bool:
    """True for a service of this machine whose process has ended; others may only be late."""
    return processes.is_here(service) and not processes.is_alive(service)
