"""What cron expressions mean, what is wrong with those that mean nothing, and clock changes."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice

import pytest
from cron_oracle import END, START, due, instants, wall
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.errors import UsageError
from orch.service import cron
from orch.service.cron import Cron

ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",  # midnight is there twice
    "America/Santiago",  # midnight is skipped
    "America/Sao_Paulo",  # midnight is skipped until 2019
    "America/Asuncion",
    "America/Caracas",
    "Africa/Casablanca",  # four changes a year
    "Asia/Beirut",
    "Asia/Gaza",  # changes at one minute past midnight
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Atlantic/Azores",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Chatham",  # a quarter to three
    "Antarctica/Troll",  # two hours
)
SPARSE = (
    "0 2 * * *",
    "30 2 * 1-6 *",
    "0 0 * * *",
    "30 0 * * 0,6",
    "5 1 * * *",
    "1 0 25-31 * *",
    "59 23 * * *",
    "45 1-3 * * 0",
    "0,30 2 * * SUN",
    "15 0,2,3 * * 6,7",
    "0-59/20 2 * 3,10,11 *",
    "30 1 1 * *",
    "0 3 31 * *",
    "0 3 29 2 *",
    "20 2 25-31 3,10 0",
    "20 2 */2 * 0",
    "0 12 13 * FRI",
    "0 0 1 1 *",
    "15 2 * MAR-APR SUN",
    "0 1-4/2 8-14 * 1-5",
    "*/30 0 * * 0",
    "*/30 2 * * 0",
    "*/3 0 1 * *",
    "*/20 1,2 * 3,10,11 SUN",
    "45 */12 1-7 * *",
    "45 */2 * 3,4,9,10,11 0",
)
DENSE = ("*/5 * * * *", "0 * * * *", "45 * * * *", "*/15 2 * * *", "0-59/7 0-3 * * *")


def said(text: str, zone: str = "UTC") -> str:
    with pytest.raises(UsageError) as error:
        cron.parse(text, zone)
    return error.value.message


# ── what is wrong ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "caret", "what"),
    [
        ("60 2 * * *", "^^", "minute"),
        ("0 24 * * *", "  ^^", "hour"),
        ("0 2 32 * *", "    ^^", "day"),
        ("0 2 * 13 *", "      ^^", "month"),
        ("0 2 * * 8", "        ^", "weekday"),
        ("0 2 * * monday", "        ^^^^^^", "weekday"),
        ("  0   2  0 * *", "         ^", "day"),
        ("1 1 1 1 1-", "        ^^", "weekday"),
        ("5 5,25 * * *", "  ^^^^", "hour"),
        ("*/0 2 * * *", "^^^", "minute"),
    ],
)
def test_a_caret_is_under_the_field_that_is_wrong(text: str, caret: str, what: str) -> None:
    assert said(text).splitlines()[1:] == [f"  {text}", f"  {caret} this is no {what}"]


@pytest.mark.parametrize("text", ["0 2 * *", "0 0 2 * * *", "", "midnight"])
def test_a_cron_expression_has_five_fields(text: str) -> None:
    number = len(text.split())
    fields = "1 field" if number == 1 else f"{number} fields"
    assert said(text).endswith(f"{fields}, and a cron expression has five")
    assert f"  {'^' * max(1, len(text))} {number}" in said(text)


def test_every_error_shows_an_expression_that_can_be_read() -> None:
    with pytest.raises(UsageError) as error:
        cron.parse("nightly", "UTC")
    example = error.value.hint.split('"')[1]
    assert cron.parse(example, "UTC").text == example


def test_a_nickname_that_is_none_names_the_nearest() -> None:
    assert "no such nickname" in said("@dayly")
    assert "@daily" in said("@dayly")
    assert "no such nickname" in said("@reboot")


def test_a_zone_that_is_none_names_the_nearest() -> None:
    assert "no time zone is called 'Europe/Berln'" in said("0 2 * * *", "Europe/Berln")
    assert "Europe/Berlin" in said("0 2 * * *", "Europe/Berln")


@pytest.mark.parametrize("zone", ["", "CE", "../../etc/passwd", "/etc/localtime", "Mars/Olympus"])
def test_a_zone_is_one_that_is_known(zone: str) -> None:
    assert said("0 2 * * *", zone).startswith(f"no time zone is called {zone!r}")


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 2,4,6 *", "0 0 30-31 FEB *"])
def test_a_day_that_never_comes_is_refused_as_one(text: str) -> None:
    assert said(text) == f"{text!r} is never due: no such day comes"


def test_a_leap_day_comes() -> None:
    assert cron.parse("0 0 29 2 *", "UTC").next(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(
        2104, 2, 29, tzinfo=UTC
    )


def test_a_number_of_very_many_digits_is_refused() -> None:
    assert "this is no minute" in said("9" * 5000 + " 2 * * *")


@pytest.mark.parametrize(("nickname", "fields"), cron.NICKNAMES.items())
def test_a_nickname_stands_for_five_fields(nickname: str, fields: str) -> None:
    named, spelt = cron.parse(f" {nickname.upper()}", "Asia/Tokyo"), Cron(fields, "Asia/Tokyo")
    assert named.upcoming(START, 5) == spelt.upcoming(START, 5)


def test_between_begins_after_one_instant_and_ends_with_another() -> None:
    hours = [START + timedelta(hours=number) for number in range(4)]
    assert list(Cron("0 * * * *", "UTC").between(hours[0], hours[3])) == hours[1:]


# ── when it is due ──────────────────────────────────────────────────────────────────────────


def test_a_skipped_hour_fires_once_right_after_it() -> None:
    found = Cron("0,30 2 * * *", "Europe/Berlin").upcoming(datetime(2026, 3, 28, 12, tzinfo=UTC), 2)
    assert found == [
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2026, 3, 30, 0, tzinfo=UTC),
    ]


def test_a_repeated_hour_fires_once() -> None:
    found = Cron("30 2 * * *", "Europe/Berlin").upcoming(datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert found == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_ten_years_are_as_a_walk_through_every_minute_finds_them(zone: str) -> None:
    clock = wall(zone)
    before = START - timedelta(minutes=1)
    for text in SPARSE:
        expected = instants(due(text, clock))
        assert list(Cron(text, zone).between(before, END - timedelta(minutes=1))) == expected, text
    for text in DENSE:
        minutes = due(text, clock)
        for low, high in [(0, 4 * 1440), *clock.around(days=1)]:
            expected = instants(minutes[(minutes > low) & (minutes < high)])
            first, last = instants([low, high - 1])
            assert list(Cron(text, zone).between(first, last)) == expected, (text, first)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe"])
def test_wherever_one_begins_the_next_instant_is_the_same(zone: str) -> None:
    clock = wall(zone)
    for text in ("30 1 * * *", "15 2 * * 0", "*/15 1 * * *", "45 * * * *", "0,50 0-2 * * *"):
        expected = instants(due(text, clock))
        for change in instants(clock.changes[:4]):
            for minutes in range(-150, 150, 7):
                after = change + timedelta(minutes=minutes, seconds=minutes % 3 / 2)
                following = expected[bisect_right(expected, after)]
                assert Cron(text, zone).next(after) == following, (text, after)


FIELDS = st.tuples(
    st.sampled_from(["*", "*/7", "0", "30", "5,59", "10-20/5"]),
    st.sampled_from(["*", "*/6", "0", "2", "1-3", "23"]),
    st.sampled_from(["*", "1", "31", "*/10", "13"]),
    st.sampled_from(["*", "3", "10", "OCT-NOV"]),
    st.sampled_from(["*", "0", "7", "MON-FRI", "FRI"]),
).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(
    FIELDS,
    st.sampled_from(ZONES),
    st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1)),
    st.integers(-12, 14),
)
def test_instants_are_in_utc_each_later_than_the_one_before(
    text: str, zone: str, local: datetime, hours: int
) -> None:
    after = local.replace(tzinfo=timezone(timedelta(hours=hours)))
    found = list(islice(Cron(text, zone).instants(after), 30))
    assert all(each.tzinfo is UTC for each in found)
    assert found == sorted(set(found))
    assert all(each > after and each.second == 0 for each in found)
