"""What the service and its clients read: the queue, schedules, fires, notices, who leads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from orch_db.errors import NotUniqueError
from orch_db.queries import Queries, best_first, ranked
from orch_db.records import (
    FireRecord,
    JobRecord,
    LeaderRecord,
    NoticeRecord,
    ScheduleRecord,
    SweepRecord,
    TrialRecord,
)
from orch_db.statements import Instant, alive
from orch_db.tables import Fire, Job, Leader, Notice, Schedule, Sweep, Trial


class ServiceQueries(Queries):
    """Frozen records out of the database, those of the service too."""

    def page(self, limit: int, before: str = "", since: str = "") -> list[SweepRecord]:
        """Sweeps, newest first: those created before one, those that are no older than an instant
        or ended, were queued or started after it.
        """
        statement = select(Sweep.__table__)
        if before:
            edge = select(Sweep.created_at).where(Sweep.id == before).scalar_subquery()
            same = and_(Sweep.created_at == edge, Sweep.id > before)
            statement = statement.where(or_(Sweep.created_at < edge, same))
        if since:
            moved = or_(Job.created_at >= since, Job.started_at >= since, Job.finished_at >= since)
            statement = statement.where(
                or_(
                    Sweep.created_at >= since,
                    Sweep.finished_at >= since,
                    Sweep.state == "running",
                    Sweep.id.in_(select(Job.sweep_id).where(moved)),
                )
            )
        order = Sweep.created_at.desc(), Sweep.id
        return self._with_counts(self._rows(statement.order_by(*order).limit(limit)))

    def jobs(self, *states: str) -> list[JobRecord]:
        """Jobs in these states, in the order in which they run."""
        rows = self._rows(
            select(Job.__table__)
            .where(Job.state.in_(states))
            .order_by(Job.priority.desc(), Job.created_at, Job.sweep_id)
        )
        return [JobRecord(**row) for row in rows]

    def job(self, sweep_id: str) -> JobRecord | None:
        """The place of a sweep in the queue, now or before."""
        rows = self._rows(select(Job.__table__).where(Job.sweep_id == sweep_id))
        return JobRecord(**rows[0]) if rows else None

    def schedules(self) -> list[ScheduleRecord]:
        """All schedules by name."""
        rows = self._rows(select(Schedule.__table__).order_by(Schedule.name))
        return [ScheduleRecord(**row) for row in rows]

    def schedule(self, word: str) -> ScheduleRecord | None:
        """The schedule of a name, or whose id begins so.

        Raises:
            NotUniqueError: several ids do.
        """
        by_id = Schedule.id.startswith(word, autoescape=True)
        rows = self._rows(select(Schedule.__table__).where(or_(Schedule.name == word, by_id)))
        named = [row for row in rows if row["name"] == word]
        if not named and len(rows) > 1:
            raise NotUniqueError(f"several schedules have an id that begins with {word!r}")
        return ScheduleRecord(**(named or rows)[0]) if rows else None

    def fires(self, schedule_id: str, most: int, before: str | None = None) -> list[FireRecord]:
        """A schedule's fires, the latest first; those due `before` an instant."""
        statement = (
            select(Fire.__table__)
            .where(Fire.schedule_id == schedule_id)
            .order_by(Fire.due_at.desc())
            .limit(most)
        )
        if before is not None:
            statement = statement.where(Fire.due_at < before)
        return [FireRecord(**row) for row in self._rows(statement)]

    def leader(self) -> LeaderRecord | None:
        """The service that makes schedules fire."""
        rows = self._rows(
            select(Leader.holder, Leader.epoch, alive(Leader.held_until).label("alive"))
        )
        return LeaderRecord(**rows[0]) if rows else None

    def due_notices(self, most: int) -> list[NoticeRecord]:
        """What is to be told now, the oldest first."""
        statement = (
            select(Notice.__table__)
            .where(Notice.delivered_at.is_(None), Notice.next_at <= Instant())
            .order_by(Notice.next_at, Notice.created_at)
            .limit(most)
        )
        return [NoticeRecord(**row) for row in self._rows(statement)]

    def notices(self, most: int) -> list[NoticeRecord]:
        """What was or is to be told, the newest first."""
        rows = self._rows(
            select(Notice.__table__).order_by(Notice.created_at.desc(), Notice.id).limit(most)
        )
        return [NoticeRecord(**row) for row in rows]

    def leader_of_board(self, board: str, direction: str) -> TrialRecord | None:
        """The best trial of a board, where it has beaten another; a tie beats nobody."""
        rows = self._rows(
            select(Trial.__table__)
            .where(Trial.board == board, *ranked())
            .order_by(*best_first(direction))
            .limit(2)
        )
        beaten = len(rows) > 1 and rows[0]["score"] != rows[1]["score"]
        return TrialRecord(**rows[0]) if beaten else None

    def _counts(self, statement: Select[*tuple[Any, ...]]) -> Mapping[str, int]:
        """Two columns, a word and a number, as a mapping."""
        return {row[0]: row[1] for row in (tuple(each.values()) for each in self._rows(statement))}

    def jobs_by_state(self) -> Mapping[str, int]:
        """How many jobs are in each state."""
        return self._counts(select(Job.state, func.count().label("count")).group_by(Job.state))

    def trials_by_state(self) -> Mapping[str, int]:
        """How many trials are in each state."""
        return self._counts(select(Trial.state, func.count().label("count")).group_by(Trial.state))
