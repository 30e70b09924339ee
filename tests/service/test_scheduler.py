"""What schedules lead to when they fire. Only the clock is not real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scheduler_room import HOUR, SECOND, START, Clock, Room

from orch import installing, registry
from orch.errors import NotFoundError
from orch.home import Home, write_json
from orch.planning import words as planning
from orch.planning.words import SweepWords
from orch.service import due, scheduler, schedules
from orch.service.due import written
from orch.settings import Settings
from orch.testing import silent
from orch_db.errors import LostLeadError
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore
from orch_db.store import Store


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    url = f"sqlite:///{tmp_path}/orch.db"
    home = Home(tmp_path / "home")
    home.create()
    store = ServiceStore.open(url, "me")
    with closing(store), closing(ServiceQueries.open(url)) as queries:
        assert store.lead(600)
        yield Room(url, store, queries, Settings(), home, Clock())


# ── an instant comes ────────────────────────────────────────────────────────────────────────


def test_a_due_instant_becomes_a_sweep_in_the_queue(room: Room) -> None:
    room.add(priority=3)
    assert room.tick(1, seconds=-1) == 0
    assert room.tick(1, seconds=2) == 1
    (fire,) = room.fires
    assert (fire.due_at, fire.state, fire.late_seconds) == (written(START + HOUR), "fired", 2.0)
    assert (fire.reason, fire.created_at) == (None, written(START + HOUR + 2 * SECOND))
    made = room.sweep(fire)
    assert (made.name, made.dataset, made.state) == ("hourly", "digits", "queued")
    assert planning.is_unplanned(made)
    assert made.spec["trials"] == 4
    assert (room.job(fire).priority, room.job(fire).flags) == (3, {"concurrent": 2})
    assert room.schedule.sweep_id == made.id
    assert room.tick(1, seconds=3) == 0


def test_what_is_paused_does_not_fire(room: Room) -> None:
    room.add(state="paused")
    assert room.tick(1) == 0
    assert room.fires == []


def test_a_schedule_ends_when_no_instant_is_left(room: Room) -> None:
    room.add(until=written(START + 2 * HOUR))
    room.tick(1)
    room.tick(2)
    assert room.schedule.state == "active"
    room.tick(3)
    assert (room.schedule.state, len(room.fires)) == ("ended", 2)


def test_missed_instants_are_recorded_as_skipped(room: Room) -> None:
    room.add(window_seconds=3600.0)
    room.tick(3, seconds=60)
    assert [(each.due_at, each.state) for each in room.fires] == [
        (written(START + HOUR), "skipped"),
        (written(START + 2 * HOUR), "skipped"),
        (written(START + 3 * HOUR), "fired"),
    ]
    assert room.fires[0].reason == "missed by 2 h, more than its window of 1 h"
    assert room.fires[0].late_seconds == 7260.0
    assert room.fires[2].late_seconds == 60.0


def test_the_rows_of_very_many_missed_instants_count_them_all(room: Room) -> None:
    room.add(cron="* * * * *")
    room.tick(24, seconds=30)
    assert len(room.fires) == 102
    assert sum(each.instants for each in room.fires) == 24 * 60


def test_one_that_no_longer_leads_records_nothing(room: Room) -> None:
    room.add()
    assert room.store.lead(0)
    with pytest.raises(LostLeadError):
        room.tick(1)
    assert (room.fires, room.queries.jobs("queued")) == ([], [])


# ── while an earlier sweep has not ended ────────────────────────────────────────────────────


def test_a_fire_is_skipped_while_the_sweep_before_has_not_ended(room: Room) -> None:
    room.add(overlap="skip")
    room.tick(1)
    first = room.fires[0]
    room.tick(2)
    assert room.states() == ["fired", "skipped"]
    why = f"sweep {room.sweep(first).id[:6]} of an earlier fire has not ended"
    assert room.fires[1].reason == why
    room.complete(first)
    room.tick(3)
    assert room.states() == ["fired", "skipped", "fired"]


def test_fires_queue_up_each_after_the_one_before(room: Room) -> None:
    room.add(overlap="queue")
    for hour in (1, 2, 3):
        room.tick(hour)
    one, two, three = room.fires
    assert [room.job(each).after for each in (one, two, three)] == [
        None,
        one.sweep_id,
        two.sweep_id,
    ]
    room.complete(one)
    room.complete(two)
    assert room.job(three).state == "queued"


def test_a_fire_replaces_the_sweep_before(room: Room) -> None:
    room.add(overlap="replace")
    room.tick(1)
    room.tick(2)
    one, two = room.fires
    assert (room.sweep(one).state, room.job(one).state) == ("cancelled", "ended")
    assert (room.sweep(two).state, room.job(two).state) == ("queued", "queued")
    room.complete(two)


@pytest.mark.parametrize(
    ("overlap", "states", "waiting"),
    [
        ("skip", ["fired", "skipped", "skipped"], 1),
        ("queue", ["fired", "fired", "fired"], 3),
        ("replace", ["fired", "fired", "fired"], 1),
    ],
)
def test_instants_that_come_together_are_as_those_that_come_apart(
    overlap: str, states: list[str], waiting: int, room: Room
) -> None:
    room.add(overlap=overlap, catch_up="all")
    room.tick(3, seconds=60)
    assert room.states() == states
    assert len(room.queries.jobs("queued")) == waiting
    last = [each for each in room.fires if each.state == "fired"][-1]
    assert (room.job(last).state, room.schedule.sweep_id) == ("queued", last.sweep_id)


# ── modes ───────────────────────────────────────────────────────────────────────────────────


def test_it_fires_again_only_once_something_has_changed(room: Room) -> None:
    room.add(mode="if-changed")
    room.tick(1)
    room.complete(room.fires[0])
    room.tick(2)
    why = f"nothing has changed since the fire due at {written(START + HOUR)}"
    assert (room.fires[1].state, room.fires[1].reason) == ("skipped", why)
    installing.install(room.home, "digits", None, silent)
    room.tick(3)
    assert room.states() == ["fired", "skipped", "fired"]


def test_other_weights_are_a_change(room: Room) -> None:
    room.add(mode="if-changed")
    room.tick(1)
    room.complete(room.fires[0])
    backbone = registry.load_dataset("digits").facts.backbone
    room.home.weights.mkdir(parents=True)
    (room.home.weights / f"{backbone}.weights.h5").touch()
    write_json(room.home.weights / f"{backbone}.json", {"digest": "0" * 64, "version": 1})
    room.tick(2)
    room.complete(room.fires[1])
    room.tick(3)
    assert room.states() == ["fired", "fired", "skipped"]


def test_what_failed_fires_again_though_nothing_has_changed(room: Room) -> None:
    room.add(mode="if-changed")
    room.tick(1)
    room.complete(room.fires[0], state="failed")
    room.tick(2)
    assert room.states() == ["fired", "fired"]


def test_one_sweep_gets_more_trials_at_each_fire(room: Room) -> None:
    room.add(mode="extend")
    room.tick(1)
    first = room.fires[0]
    room.complete(first)
    room.tick(2)
    assert {each.sweep_id for each in room.fires} == {first.sweep_id}
    assert room.fires[1].reason == f"4 trials more for sweep {room.sweep(first).id[:6]}"
    assert (room.sweep(first).spec["trials"], room.sweep(first).state) == (8, "stopped")
    assert room.job(first).state == "queued"
    room.tick(3)  # it waits still
    assert room.sweep(first).spec["trials"] == 12
    assert len(room.queries.sweeps()) == 1


def test_instants_that_come_together_add_all_their_trials(room: Room) -> None:
    room.add(mode="extend", catch_up="all")
    room.tick(3, seconds=60)
    assert room.states() == ["fired"] * 3
    assert room.sweep(room.fires[0]).spec["trials"] == 12
    assert len(room.queries.jobs("queued")) == 1


def test_what_was_cancelled_is_not_extended(room: Room) -> None:
    room.add(mode="extend")
    room.tick(1)
    with closing(Store.open(room.url)) as store:
        store.request(room.sweep(room.fires[0]).id, "cancel", written(START))
    room.tick(2)
    assert room.fires[0].sweep_id != room.fires[1].sweep_id
    assert room.states() == ["fired", "fired"]


def test_it_starts_with_the_best_of_the_sweep_before(room: Room) -> None:
    room.add(mode="warm-start")
    room.tick(1)
    first = room.fires[0]
    assert room.sweep(first).spec["words"].get("warm_start") is None
    room.complete(first)
    room.tick(2)
    second = room.sweep(room.fires[1])
    assert (second.spec["words"]["warm_start"], second.parent) == (first.sweep_id, first.sweep_id)


# ── blocked ─────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_whose_dataset_is_gone_is_kept_and_fires_once_it_is_back(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.add()
    names = registry.dataset_names()
    with monkeypatch.context() as gone:
        gone.setattr(registry, "dataset_names", lambda: [n for n in names if n != "digits"])
        room.tick(1)
        room.tick(2)
        assert (room.schedule.state, room.schedule.blocked) == (
            "active",
            scheduler.why_blocked(room.schedule, room.home),
        )
    assert room.states() == ["skipped", "skipped"]
    for fire in room.fires:
        assert fire.reason == f"blocked: {room.schedule.blocked}"
        assert "digits" in str(fire.reason)
    assert room.queries.jobs("queued") == []
    room.tick(3)
    assert room.states() == ["skipped", "skipped", "fired"]
    assert room.schedule.blocked is None


@pytest.mark.parametrize(
    "words", [{"dataset": "digits", "colour": "red"}, {"dataset": "digits", "trials": "many"}, {}]
)
def test_words_of_another_version_block_and_harm_no_other(
    words: dict[str, Any], room: Room
) -> None:
    room.add(id="a1", name="another", words=words)
    room.add()
    assert room.tick(1) == 2
    another, hourly = room.queries.schedules()
    assert another.blocked
    assert (hourly.blocked, room.states()) == (None, ["fired"])


# ── by hand ─────────────────────────────────────────────────────────────────────────────────


def test_it_fires_by_hand_beside_what_is_due(room: Room) -> None:
    room.add()
    room.clock.now = START + HOUR  # to the millisecond
    by_hand = room.scheduler.run_now(room.schedule)
    assert (by_hand.state, by_hand.reason) == ("fired", "by hand")
    room.complete(by_hand)
    assert room.scheduler.tick() == 1
    assert room.states() == ["fired", "fired"]
    assert [each.reason for each in room.fires] == [None, "by hand"]


def test_by_hand_it_fires_though_nothing_has_changed(room: Room) -> None:
    room.add(mode="if-changed")
    room.tick(1)
    room.complete(room.fires[0])
    assert room.scheduler.run_now(room.schedule).state == "fired"


def test_by_hand_it_says_why_it_does_not_fire(room: Room) -> None:
    room.add()
    room.tick(1)
    by_hand = room.scheduler.run_now(room.schedule)
    assert by_hand.state == "skipped"
    assert str(by_hand.reason).startswith("by hand: sweep ")
    assert str(by_hand.reason).endswith("of an earlier fire has not ended")


def test_what_is_blocked_is_refused_by_hand(room: Room) -> None:
    room.add(words=SweepWords("no-such-dataset").to_json())
    with pytest.raises(NotFoundError, match="no-such-dataset"):
        room.scheduler.run_now(room.schedule)
    assert room.fires == []


# ── notices ─────────────────────────────────────────────────────────────────────────────────


def told(room: Room) -> list[tuple[str, Any]]:
    found = sorted(room.queries.notices(99), key=lambda each: each.created_at)
    return [(each.event, each.payload["data"].get("instants")) for each in found]


def test_missed_instants_of_one_time_are_told_together(room: Room) -> None:
    room.settings = replace(room.settings, webhook_url="http://127.0.0.1:9/")
    room.add(window_seconds=60.0, overlap="queue")
    room.tick(1)
    assert told(room) == []
    room.tick(4)
    assert told(room) == [("fire.missed", 2)]


def test_that_it_is_blocked_is_told_once(room: Room) -> None:
    room.settings = replace(room.settings, webhook_url="http://127.0.0.1:9/", notify_command="true")
    room.add(words=SweepWords("no-such-dataset").to_json())
    room.tick(1)
    room.tick(2)
    assert [event for event, _ in told(room)] == ["schedule.blocked"] * 2
    assert {each.target for each in room.queries.notices(9)} == {"webhook", "command"}


def test_nothing_is_told_where_nobody_listens(room: Room) -> None:
    room.add(window_seconds=60.0)
    room.tick(4)
    assert room.queries.notices(9) == []


def test_a_zone_that_is_gone_harms_no_other(room: Room) -> None:
    room.add(id="a1", name="a", timezone="Mars/Olympus")
    room.add()
    assert [room.tick(1), room.tick(2)] == [1, 1]
    broken, hourly = room.queries.schedules()
    assert broken.blocked is not None
    assert broken.blocked.startswith(scheduler.BUG)
    shown = schedules.shown(room.home, broken)
    assert (shown["state"], shown["next_at"]) == ("blocked", None)
    assert shown["blocked"] == "this machine knows no time zone Mars/Olympus"
    assert hourly.blocked is None


def test_what_is_next_counts_the_jitter(room: Room) -> None:
    room.add(jitter_seconds=1800.0)
    (coming, *_) = schedules.upcoming(room.schedule, 3)
    when = due.read(coming)
    assert (when.minute, when.second, when.microsecond) != (0, 0, 0)
    ready = due.ready_at(room.schedule, when.replace(minute=0, second=0, microsecond=0))
    assert abs((ready - when).total_seconds()) < 0.001


def test_zeros_are_words_too() -> None:
    said = {"dataset": "digits", "seed": 0, "keep": 0}
    assert SweepWords.from_json(SweepWords.from_json(said).to_json()) == SweepWords(
        "digits", seed=0, keep=0
    )
