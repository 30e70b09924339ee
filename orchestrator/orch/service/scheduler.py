"""Makes schedules fire: looks at what has come, and records all that follows from it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orch.errors import OrchError, first_line
from orch.home import Home
from orch.planning import words as planning
from orch.planning.words import SweepWords
from orch.service import due, notices
from orch.service.due import Due, written
from orch.settings import Settings
from orch_db.agenda import Decision, MoreTrials, NewSweep
from orch_db.errors import DatabaseError
from orch_db.records import FireRecord, ScheduleRecord, SweepRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore

LEAD_SECONDS = 15.0  # a leader that was not heard of for so long makes way
HISTORY = 50  # fires looked back at for the last finished one

BUG = "a bug in orch: "  # how a schedule is blocked by what nobody thought of

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present instant."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Fired:
    """What one instant led to."""

    fire: FireRecord
    new: NewSweep | None = None
    more: MoreTrials | None = None
    replaced: str | None = None


@dataclass(frozen=True)
class Scheduler:
    """Decides what becomes of instants, and has it recorded. Only the leader's is accepted."""

    store: ServiceStore
    queries: ServiceQueries
    settings: Settings
    home: Home
    clock: Clock = utc_now

    def tick(self) -> int:
        """Decide everything that has come; returns how many schedules moved on.

        Raises:
            DatabaseError: the database refused; nothing is half recorded.
            LostLeadError: another service leads by now.
        """
        return sum(
            self._advance_alone(schedule)
            for schedule in self.queries.schedules()
            if schedule.state == "active"
        )

    def run_now(self, schedule: ScheduleRecord) -> FireRecord:
        """Fire at once, beside what is due.

        Raises:
            OrchError: its words cannot be planned any more.
        """
        planning.check(SweepWords.from_json(schedule.words), self.home)
        now = self.clock()
        now = now.replace(microsecond=max(now.microsecond, 1000))  # what is due has whole seconds
        fired = self._fire(replace(schedule, mode=_mode_now(schedule)), now, now)
        reason = ": ".join(filter(None, ("by hand", fired.fire.reason)))
        fired = replace(fired, fire=replace(fired.fire, reason=reason))
        self.store.run_now(_decision(schedule, schedule.decided_until, [fired], ()))
        return fired.fire

    def _advance_alone(self, schedule: ScheduleRecord) -> bool:
        """As `_advance`; what is wrong with one schedule does not keep the others from firing."""
        try:
            return self._advance(schedule)
        except DatabaseError:
            raise
        except Exception as error:
            why = f"{BUG}{type(error).__name__}: {first_line(error)}"
            if schedule.blocked != why:
                self.store.change_schedule(schedule.id, blocked=why)
            return False

    def _advance(self, schedule: ScheduleRecord) -> bool:
        now = self.clock()
        found = due.decide(schedule, now)
        if found is None:
            if due.is_over(schedule, now):
                self.store.change_schedule(schedule.id, state="ended")
            return False
        blocked = why_blocked(schedule, self.home)
        if blocked is not None:
            return self.store.decide(self._blocked(schedule, found, blocked, now))
        skips = tuple(_skip(schedule, each, now) for each in found.skipped)
        fired: list[_Fired] = []
        former = self._last_sweep(schedule)
        for instant in found.fire:
            fired.append(self._fire(schedule, instant, now, former))
            former = fired[-1].new.sweep if fired[-1].new else former
        return self.store.decide(
            replace(
                _decision(schedule, written(found.until), fired, skips),
                notices=notices.missed(self.settings, schedule, skips),
            )
        )

    def _last_sweep(self, schedule: ScheduleRecord) -> SweepRecord | None:
        return self.queries.sweep(schedule.sweep_id) if schedule.sweep_id else None

    def _fire(
        self,
        schedule: ScheduleRecord,
        instant: datetime,
        now: datetime,
        former: SweepRecord | None = None,
    ) -> _Fired:
        """What one instant leads to: a sweep, more trials for one, or a reason for neither."""
        former = former or self._last_sweep(schedule)
        words = SweepWords.from_json(schedule.words)
        watched = schedule.mode == "if-changed"
        fire = FireRecord(
            schedule_id=schedule.id,
            due_at=written(instant),
            state="fired",
            late_seconds=max(0.0, (now - instant).total_seconds()),
            created_at=written(now),
            fingerprint=planning.fingerprint(words, self.home) if watched else None,
        )
        if schedule.mode == "extend" and former and former.state != "cancelled":
            return self._extended(schedule, words, former, fire)
        unchanged = self._unchanged(schedule, fire) if schedule.mode == "if-changed" else None
        if unchanged:
            why = f"nothing has changed since the fire due at {unchanged}"
            return _Fired(replace(fire, state="skipped", reason=why))
        running = former if former and self._is_open(former) else None
        if running and schedule.overlap == "skip":
            why = f"sweep {running.id[:6]} of an earlier fire has not ended"
            return _Fired(replace(fire, state="skipped", reason=why))
        best = former.id if former and schedule.mode == "warm-start" else None
        sweep = planning.queued(replace(words, warm_start=best), self.settings)
        new = NewSweep(sweep, words.flags, schedule.priority, running.id if running else None)
        replaced = running.id if running and schedule.overlap == "replace" else None
        return _Fired(replace(fire, sweep_id=sweep.id), new, replaced=replaced)

    def _extended(
        self, schedule: ScheduleRecord, words: SweepWords, former: SweepRecord, fire: FireRecord
    ) -> _Fired:
        count = words.trials or self.settings.trials
        more = MoreTrials(former.id, count, words.flags, schedule.priority)
        why = f"{count} trials more for sweep {former.id[:6]}"
        return _Fired(replace(fire, sweep_id=former.id, reason=why), more=more)

    def _is_open(self, sweep: SweepRecord) -> bool:
        job = self.queries.job(sweep.id)
        return job.state != "ended" if job else sweep.state in ("queued", "running")

    def _unchanged(self, schedule: ScheduleRecord, fire: FireRecord) -> str | None:
        """The last finished fire, where it was of the same data, plugins and space."""
        for each in self.queries.fires(schedule.id, HISTORY):
            made = self.queries.sweep(each.sweep_id) if each.sweep_id else None
            if each.state == "fired" and made is not None and made.state == "completed":
                return each.due_at if each.fingerprint == fire.fingerprint else None
        return None

    def _blocked(self, schedule: ScheduleRecord, found: Due, why: str, now: datetime) -> Decision:
        missed = [_skip(schedule, each, now) for each in found.skipped]
        for instant in found.fire:
            late = max(0.0, (now - instant).total_seconds())
            at = written(instant), "skipped", late, written(now)
            missed.append(FireRecord(schedule.id, *at, reason=f"blocked: {why}"))
        missed.sort(key=lambda fire: fire.due_at)
        return Decision(
            schedule,
            written(found.until),
            tuple(missed),
            blocked=why,
            notices=()
            if schedule.blocked == why
            else notices.blocked(self.settings, schedule, why, written(now)),
        )


def why_blocked(schedule: ScheduleRecord, home: Home) -> str | None:
    """Why a schedule cannot fire today; None where it can."""
    try:
        ZoneInfo(schedule.timezone)
        planning.check(SweepWords.from_json(schedule.words), home)
    except ZoneInfoNotFoundError:
        return f"this machine knows no time zone {schedule.timezone}"
    except OrchError as error:
        return error.message
    except Exception as error:  # what other versions stored may not be read by this one
        return f"its words cannot be read: {first_line(error)}"
    return None


def _mode_now(schedule: ScheduleRecord) -> str:
    """By hand it fires though nothing has changed."""
    return "new" if schedule.mode == "if-changed" else schedule.mode


def _skip(schedule: ScheduleRecord, skip: due.Skip, now: datetime) -> FireRecord:
    late = max(0.0, (now - skip.due).total_seconds())
    at = written(skip.due), "skipped", late, written(now)
    return FireRecord(schedule.id, *at, reason=skip.reason, instants=skip.instants)


def _decision(
    schedule: ScheduleRecord,
    until: str,
    fired: list[_Fired],
    skips: tuple[FireRecord, ...],
) -> Decision:
    fires = sorted([*skips, *(each.fire for each in fired)], key=lambda fire: fire.due_at)
    more = [each.more for each in fired if each.more]
    return Decision(
        schedule,
        until,
        tuple(fires),
        new=tuple(each.new for each in fired if each.new),
        more=replace(more[0], trials=sum(each.trials for each in more)) if more else None,
        replaced=tuple(each.replaced for each in fired if each.replaced),
    )
