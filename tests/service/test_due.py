"""What becomes of instants that have come, whatever the time and the schedule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.service import due
from orch.service.due import Due, written
from orch_db.records import ScheduleRecord

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
HOURLY = ScheduleRecord(
    id="abc",
    name="hourly",
    cron="0 * * * *",
    timezone="UTC",
    words={"dataset": "digits"},
    decided_until=written(START),
    created_at=written(START),
)


def decided(schedule: ScheduleRecord, now: datetime) -> Due:
    found = due.decide(schedule, now)
    assert found is not None
    return found


def reasons(found: Due) -> list[str]:
    return [each.reason for each in found.skipped]


# ── on time ─────────────────────────────────────────────────────────────────────────────────


def test_before_its_first_instant_nothing_is_decided() -> None:
    assert due.decide(HOURLY, START) is None
    assert due.decide(HOURLY, START + HOUR - timedelta(milliseconds=1)) is None


@pytest.mark.parametrize("catch_up", ["latest", "all", "none"])
@pytest.mark.parametrize("late", [0, 1, 15])
def test_an_instant_that_has_just_come_fires(catch_up: str, late: int) -> None:
    schedule = replace(HOURLY, catch_up=catch_up, window_seconds=0.0)
    found = decided(schedule, START + HOUR + late * SECOND)
    assert found == Due(fire=(START + HOUR,), skipped=(), until=START + HOUR)


def test_what_was_decided_is_not_decided_again() -> None:
    schedule = replace(HOURLY, decided_until=written(START + HOUR))
    assert due.decide(schedule, START + HOUR + SECOND) is None


# ── missed ──────────────────────────────────────────────────────────────────────────────────


def test_a_missed_instant_is_fired_late_within_its_window() -> None:
    found = decided(replace(HOURLY, window_seconds=1800.0), START + HOUR + 30 * MINUTE)
    assert (found.fire, found.skipped) == ((START + HOUR,), ())


def test_an_instant_older_than_its_window_is_skipped_and_says_so() -> None:
    found = decided(replace(HOURLY, window_seconds=1800.0), START + HOUR + 31 * MINUTE)
    assert found.fire == ()
    assert reasons(found) == ["missed by 31 m, more than its window of 30 m"]
    assert found.until == START + HOUR


def test_the_latest_of_several_stands_for_all() -> None:
    found = decided(HOURLY, START + 3 * HOUR + MINUTE)
    assert found.fire == (START + 3 * HOUR,)
    assert [each.due for each in found.skipped] == [START + HOUR, START + 2 * HOUR]
    assert set(reasons(found)) == {
        "missed: the one due at 2026-03-01T03:00:00.000+00:00 stands for it"
    }


def test_all_of_several_fire_where_that_was_asked_for() -> None:
    found = decided(replace(HOURLY, catch_up="all"), START + 3 * HOUR + MINUTE)
    assert found.fire == (START + HOUR, START + 2 * HOUR, START + 3 * HOUR)
    assert found.skipped == ()


def test_all_are_those_within_the_window() -> None:
    schedule = replace(HOURLY, catch_up="all", window_seconds=5400.0)
    found = decided(schedule, START + 3 * HOUR + MINUTE)
    assert found.fire == (START + 2 * HOUR, START + 3 * HOUR)
    assert reasons(found) == ["missed by 2 h, more than its window of 90 m"]


def test_none_of_the_missed_fire_where_that_was_asked_for() -> None:
    schedule = replace(HOURLY, catch_up="none")
    found = decided(schedule, START + 3 * HOUR + 10 * SECOND)
    assert found.fire == (START + 3 * HOUR,)
    assert reasons(found) == [
        "missed by 2 h: nothing ran the schedules",
        "missed by 60 m: nothing ran the schedules",
    ]
    assert decided(schedule, START + 3 * HOUR + MINUTE).fire == ()


def test_the_oldest_of_very_many_share_a_row() -> None:
    schedule = replace(HOURLY, cron="* * * * *", window_seconds=600.0)
    found = decided(schedule, START + 1000 * MINUTE)
    assert found.fire == (START + 1000 * MINUTE,)
    assert len(found.skipped) == due.MOST_ROWS + 1
    assert found.skipped[0].due == START + 899 * MINUTE
    assert [each.instants for each in found.skipped] == [899] + [1] * 100
    assert found.until == START + 1000 * MINUTE


def test_very_many_that_all_fire_do_so_some_at_a_time() -> None:
    schedule = replace(HOURLY, cron="* * * * *", catch_up="all", window_seconds=6000.0)
    now, fired, skipped = START + 1000 * MINUTE, list[datetime](), 0
    while found := due.decide(schedule, now):
        assert len(found.fire) <= due.MOST_FIRES
        fired += found.fire
        skipped += sum(each.instants for each in found.skipped)
        schedule = replace(schedule, decided_until=written(found.until))
    assert fired == [START + number * MINUTE for number in range(900, 1001)]
    assert skipped == 899


# ── its end ─────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_due_after_its_end() -> None:
    schedule = replace(HOURLY, catch_up="all", until=written(START + 2 * HOUR))
    found = decided(schedule, START + 9 * HOUR)
    assert found.fire == (START + HOUR, START + 2 * HOUR)
    after = replace(schedule, decided_until=written(found.until))
    assert due.decide(after, START + 9 * HOUR) is None
    assert due.is_over(after, START + 9 * HOUR)


def test_it_is_not_over_while_an_instant_is_left() -> None:
    schedule = replace(HOURLY, until=written(START + 2 * HOUR))
    assert not due.is_over(schedule, START + 9 * HOUR)  # they have come, and are not decided
    decided_all = replace(schedule, decided_until=written(START + 2 * HOUR))
    assert not due.is_over(decided_all, START + 2 * HOUR)
    assert not due.is_over(HOURLY, START + 1000 * HOUR)


# ── jitter ──────────────────────────────────────────────────────────────────────────────────


def test_jitter_is_the_same_whoever_computes_it_and_differs_between_instants() -> None:
    schedule = replace(HOURLY, jitter_seconds=1800.0)
    ready = [due.ready_at(schedule, START + number * HOUR) for number in range(50)]
    assert ready == [due.ready_at(schedule, START + number * HOUR) for number in range(50)]
    delays = [each - START - number * HOUR for number, each in enumerate(ready)]
    assert len(set(delays)) == 50
    assert all(timedelta(0) <= each < 1800 * SECOND for each in delays)
    assert max(delays) - min(delays) > 900 * SECOND
    assert due.ready_at(replace(schedule, id="other"), START) != ready[0]


def test_an_instant_waits_for_its_jitter() -> None:
    schedule = replace(HOURLY, jitter_seconds=1800.0, catch_up="none", window_seconds=0.0)
    ready = due.ready_at(schedule, START + HOUR)
    assert due.decide(schedule, ready - SECOND) is None
    assert decided(schedule, ready + SECOND).fire == (START + HOUR,)


def test_jitter_longer_than_the_time_between_instants_keeps_their_order() -> None:
    schedule = replace(HOURLY, cron="* * * * *", jitter_seconds=900.0, catch_up="all")
    now, fired = START, list[datetime]()
    while now < START + 2 * HOUR:
        now += SECOND
        if found := due.decide(schedule, now):
            assert found.skipped == ()
            assert all(due.ready_at(schedule, each) <= now for each in found.fire)
            fired += found.fire
            schedule = replace(schedule, decided_until=written(found.until))
    assert fired == [START + number * MINUTE for number in range(1, len(fired) + 1)]
    assert len(fired) > 100


# ── whatever the schedule ───────────────────────────────────────────────────────────────────

SCHEDULES = st.builds(
    replace,
    st.just(HOURLY),
    cron=st.sampled_from(["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "0,1 1-3 * * *"]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/Havana"]),
    catch_up=st.sampled_from(["latest", "all", "none"]),
    window_seconds=st.sampled_from([0.0, 60.0, 3600.0, 86_400.0]),
    jitter_seconds=st.sampled_from([0.0, 10.0, 90.0, 4000.0]),
    until=st.one_of(
        st.none(), st.integers(0, 60_000).map(lambda minutes: written(START + minutes * MINUTE))
    ),
)
PAUSES = st.lists(
    st.one_of(st.integers(1, 120), st.integers(1, 20_000), st.integers(1, 500_000)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(SCHEDULES, PAUSES)
def test_every_instant_is_fired_or_in_one_skip_however_seldom_one_looks(
    schedule: ScheduleRecord, pauses: list[int]
) -> None:
    now = START
    for seconds in pauses:
        now += seconds * SECOND
        while found := due.decide(schedule, now):
            check(schedule, found, now)
            schedule = replace(schedule, decided_until=written(found.until))
        assert not coming(schedule, now)


def coming(schedule: ScheduleRecord, now: datetime) -> bool:
    """An instant is left whose time has come, with its jitter."""
    following = due.cron(schedule).next(due.read(schedule.decided_until))
    assert following is not None
    if schedule.until is not None and following > due.read(schedule.until):
        return False
    return due.ready_at(schedule, following) <= now


def check(schedule: ScheduleRecord, found: Due, now: datetime) -> None:
    """Count all that one decision covers."""
    since = due.read(schedule.decided_until)
    came = list(due.cron(schedule).between(since, found.until))
    last = now if schedule.until is None else min(now, due.read(schedule.until))
    assert came[-1] == found.until <= last
    single = [each.due for each in found.skipped if each.instants == 1]
    shared = [each for each in found.skipped if each.instants > 1]
    covered = {each for many in shared for each in came if each <= many.due} - set(found.fire)
    assert len(found.fire) + sum(each.instants for each in found.skipped) == len(came)
    assert sorted([*found.fire, *single, *covered]) == came
    assert len(found.skipped) <= due.MOST_ROWS + 1
    assert list(found.fire) == sorted(found.fire)
    assert all(due.ready_at(schedule, each) <= now for each in came)
    assert all(each.reason for each in found.skipped)
    if schedule.catch_up == "latest":
        assert len(found.fire) <= 1
