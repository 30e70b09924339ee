"""What is done with schedules: add, list, pause, fire by hand, forget. Returns documents."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from orch import views
from orch.errors import UsageError, nearest
from orch.home import Home
from orch.planning import words as planning
from orch.planning.words import SweepWords
from orch.service import cron, due
from orch.service.scheduler import BUG, utc_now, why_blocked
from orch.service.state import Service
from orch_db.records import FireRecord, ScheduleRecord

Overlap = Literal["skip", "queue", "replace"]
CatchUp = Literal["latest", "all", "none"]
Mode = Literal["new", "if-changed", "extend", "warm-start"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
MOST_INSTANTS = 1000


@dataclass(frozen=True)
class Wish:
    """A schedule as it is asked for. `window` and `jitter` are seconds; `until` is a date or an
    instant, of the schedule's zone where it names none.
    """

    name: str
    cron: str
    timezone: str
    words: SweepWords
    overlap: str = "skip"
    catch_up: str = "latest"
    mode: str = "new"
    window: float = 86_400.0
    jitter: float = 0.0
    until: str | None = None
    priority: int = 0


def add(service: Service, wish: Wish) -> dict[str, Any]:
    """Store a schedule; its first instant is the next one.

    Raises:
        UsageError, NotFoundError: an expression, zone, name or word that makes no sense.
        NameTakenError: another has its name.
    """
    if not NAME.match(wish.name):
        raise UsageError(
            f"{wish.name[:70]!r} is no name of a schedule", "letters, digits, dots, dashes: nightly"
        )
    cron.parse(wish.cron, wish.timezone)
    for what, chosen, known in (
        ("--overlap", wish.overlap, get_args(Overlap)),
        ("--catch-up", wish.catch_up, get_args(CatchUp)),
        ("mode", wish.mode, get_args(Mode)),
    ):
        if chosen not in known:
            raise UsageError(f"{what} is {chosen!r}{nearest(chosen, known)}")
    if wish.window < 0 or wish.jitter < 0:
        raise UsageError("a window or jitter is less than nothing", "write 24h, 10m")
    planning.check(wish.words, service.home)
    made = ScheduleRecord(
        id=uuid.uuid4().hex[:12],
        name=wish.name,
        cron=wish.cron,
        timezone=wish.timezone,
        words={"name": wish.name, **wish.words.to_json()},
        decided_until=due.written(utc_now()),
        created_at=due.written(utc_now()),
        overlap=wish.overlap,
        catch_up=wish.catch_up,
        mode=wish.mode,
        window_seconds=wish.window,
        jitter_seconds=wish.jitter,
        priority=wish.priority,
        until=_until(wish),
    )
    service.store.add_schedule(made)
    return views.document(**shown(service.home, made))


def _until(wish: Wish) -> str | None:
    if wish.until is None:
        return None
    try:
        instant = datetime.fromisoformat(wish.until)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=ZoneInfo(wish.timezone))
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"--until {wish.until!r} is no date", "write 2027-12-31") from None
    if instant <= utc_now():
        raise UsageError(f"--until {wish.until} has passed", "write a date that is to come")
    return due.written(instant)


def shown(home: Home, schedule: ScheduleRecord) -> dict[str, Any]:
    """A schedule as a document, with when it fires next and why it could not today."""
    blocked = why_blocked(schedule, home) if schedule.state != "ended" else None
    if blocked is None and schedule.blocked and schedule.blocked.startswith(BUG):
        blocked = schedule.blocked
    coming = upcoming(schedule, 1) if schedule.state == "active" and not blocked else []
    state = "blocked" if blocked and schedule.state == "active" else schedule.state
    return {
        **views.schedule(schedule),
        "state": state,
        "blocked": blocked,
        "next_at": coming[0] if coming else None,
    }


def listing(service: Service) -> dict[str, Any]:
    """All schedules by name."""
    return views.document(
        schedules=[shown(service.home, each) for each in service.queries.schedules()]
    )


def document(service: Service, word: str) -> dict[str, Any]:
    """A schedule and its last fires."""
    found = service.schedule(word)
    fires = [_fire(service, each) for each in service.queries.fires(found.id, 10)]
    return views.document(**shown(service.home, found), fires=fires)


def upcoming(schedule: ScheduleRecord, count: int) -> list[str]:
    """The next instants at which it fires, its jitter counted, without those due after its end."""
    after = max(utc_now(), due.read(schedule.decided_until))
    found = due.cron(schedule).upcoming(after, min(count, MOST_INSTANTS))
    last = due.read(schedule.until) if schedule.until else None
    chosen = [each for each in found if last is None or each <= last]
    ready = accumulate((due.ready_at(schedule, each) for each in chosen), max)  # as `due.decide`
    return [due.written(each) for each in ready]


def following(service: Service, word: str, count: int) -> dict[str, Any]:
    """When it is due next."""
    found = service.schedule(word)
    return views.document(name=found.name, timezone=found.timezone, next=upcoming(found, count))


def pause(service: Service, word: str) -> dict[str, Any]:
    """Let nothing fire until it is resumed."""
    return _set(service, word, "active", state="paused")


def resume(service: Service, word: str) -> dict[str, Any]:
    """Let it fire again from now on; what was due meanwhile is not made up for."""
    return _set(service, word, "paused", state="active", decided_until=due.written(utc_now()))


def _set(service: Service, word: str, needed: str, **values: Any) -> dict[str, Any]:
    found = service.schedule(word)
    if found.state != needed:
        raise UsageError(
            f"schedule {found.name} is {found.state}; nothing was changed",
            f"orch schedules show {found.name}",
        )
    service.store.change_schedule(found.id, **values)
    return document(service, found.id)


def run_now(service: Service, word: str) -> dict[str, Any]:
    """Fire at once, beside what is due.

    Raises:
        UsageError, NotFoundError: it is blocked.
    """
    found = service.schedule(word)
    fire = service.scheduler.run_now(found)
    return views.document(schedule=found.name, **views.fire(fire))


def remove(service: Service, word: str) -> dict[str, Any]:
    """Forget a schedule and its history; the sweeps it made stay."""
    found = service.schedule(word)
    service.store.remove_schedule(found.id)
    return views.document(name=found.name, said=f"schedule {found.name} is gone; its sweeps stay")


def history(service: Service, word: str, limit: int, before: str | None = None) -> dict[str, Any]:
    """What became of its instants, the latest first; `next` is where the next page begins."""
    found = service.schedule(word)
    fires = service.queries.fires(found.id, limit + 1, before)
    more = fires[limit - 1].due_at if len(fires) > limit else None
    return views.document(
        name=found.name,
        timezone=found.timezone,
        fires=[_fire(service, each) for each in fires[:limit]],
        next=more,
    )


def _fire(service: Service, fire: FireRecord) -> dict[str, Any]:
    """A fire, and what became of the sweep that it made."""
    sweep = service.queries.sweep(fire.sweep_id) if fire.sweep_id else None
    best = service.queries.best(sweep) if sweep else None
    return {
        **views.fire(fire),
        "sweep_state": sweep.state if sweep else None,
        "best": best.score if best else None,
    }


def wish(document: Mapping[str, Any]) -> Wish:
    """Read a wish that a client sent.

    Raises:
        UsageError: words that make no sense.
    """
    content: dict[str, Any] = {**document, "words": SweepWords.from_json(document["words"])}
    return Wish(**content)
