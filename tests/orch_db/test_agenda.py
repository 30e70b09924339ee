"""Schedules and their fires: who may make them, and that each is made once, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from orch_db_rows import dump, sweep
from sqlalchemy import create_engine, select

from orch_db.agenda import Decision, MoreTrials, NewSweep
from orch_db.errors import LostLeadError, NameTakenError
from orch_db.records import FireRecord, NoticeRecord, ScheduleRecord, SweepRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore
from orch_db.statements import Instant, alive
from orch_db.store import Store

NOW = "2026-01-01T01:00:02.000+00:00"
MIDNIGHT, ONE, TWO = (f"2026-01-01T0{hour}:00:00.000+00:00" for hour in range(3))
HOURLY = ScheduleRecord(
    id="h1",
    name="hourly",
    cron="0 * * * *",
    timezone="UTC",
    words={"dataset": "digits"},
    decided_until=MIDNIGHT,
    created_at=MIDNIGHT,
)
FIRE = FireRecord("h1", ONE, "fired", 2.0, NOW, sweep_id="s1")
NOTICE = NoticeRecord("n1", "fire.missed", "webhook", {"type": "fire.missed"}, 0, NOW)


def words(id: str) -> SweepRecord:
    """A sweep that waits as words alone."""
    return sweep(id, board="", spec={"words": {}, "trials": 3})


FIRED = Decision(
    HOURLY, ONE, (FIRE,), new=(NewSweep(words("s1"), {"concurrent": 2}, 4),), notices=(NOTICE,)
)


@pytest.fixture
def url(any_database: str) -> str:
    """Every test runs on both databases."""
    return any_database


@pytest.fixture
def store(url: str) -> Iterator[ServiceStore]:
    opened = ServiceStore.open(url, "me")
    opened.add_schedule(HOURLY)
    assert opened.lead(60)
    yield opened
    opened.close()


@pytest.fixture
def other(url: str, store: ServiceStore) -> Iterator[ServiceStore]:
    opened = ServiceStore.open(url, "other")
    yield opened
    opened.close()


@pytest.fixture
def queries(store: ServiceStore, url: str) -> Iterator[ServiceQueries]:
    opened = ServiceQueries.open(url)
    yield opened
    opened.close()


def schedule(queries: ServiceQueries) -> ScheduleRecord:
    found = queries.schedule("hourly")
    assert found is not None
    return found


def leads(queries: ServiceQueries) -> tuple[str, int, bool]:
    found = queries.leader()
    assert found is not None
    return found.holder, found.epoch, found.alive


def the_sweep(queries: ServiceQueries, id: str = "s1") -> SweepRecord:
    found = queries.sweep(id)
    assert found is not None
    return found


# ── who leads ───────────────────────────────────────────────────────────────────────────────


def test_one_service_leads_and_goes_on_with_it(
    store: ServiceStore, other: ServiceStore, queries: ServiceQueries
) -> None:
    assert not other.lead(60)
    assert store.lead(60)
    assert leads(queries) == ("me", 1, True)


def test_who_resigns_makes_way_at_once(
    store: ServiceStore, other: ServiceStore, queries: ServiceQueries
) -> None:
    other.resign()  # it does not lead
    assert leads(queries) == ("me", 1, True)
    store.resign()
    assert leads(queries) == ("me", 1, False)
    assert other.lead(60)
    assert leads(queries) == ("other", 2, True)
    assert not store.lead(60)


def test_who_was_not_heard_of_makes_way_and_may_lead_again_as_new(
    store: ServiceStore, other: ServiceStore, queries: ServiceQueries
) -> None:
    assert store.lead(0)
    assert store.lead(0)
    assert leads(queries) == ("me", 2, False)
    assert other.lead(0)
    assert store.lead(60)
    assert leads(queries) == ("me", 4, True)


def test_a_hold_is_over_in_the_millisecond_it_ends() -> None:
    engine = create_engine("sqlite://")  # 'now' is one instant throughout a statement
    with engine.connect() as connection:
        (over, lasting), *_ = connection.execute(select(alive(Instant()), alive(Instant() + 1)))
    engine.dispose()
    assert (bool(over), bool(lasting)) == (False, True)


def test_of_many_services_that_would_lead_one_does(
    url: str, store: ServiceStore, queries: ServiceQueries
) -> None:
    store.resign()
    led: list[str] = []

    def try_it(name: str) -> None:
        opened = ServiceStore.open(url, name)
        if opened.lead(60):
            led.append(name)
        opened.close()

    threads = [threading.Thread(target=try_it, args=(f"service {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert leads(queries) == (*led, 2, True)


@pytest.mark.parametrize("how", ["lost", "lapsed", "resigned", "never led"])
def test_who_does_not_lead_decides_nothing(
    how: str, url: str, store: ServiceStore, other: ServiceStore
) -> None:
    stale = other if how == "never led" else store
    if how == "resigned":
        store.resign()
    if how in ("lost", "lapsed"):
        assert store.lead(0)
    if how == "lost":
        assert other.lead(60)
    before = dump(url)
    with pytest.raises(LostLeadError):
        stale.decide(FIRED)
    assert dump(url) == before


def test_who_leads_again_after_another_needs_to_have_been_told(
    url: str, store: ServiceStore, other: ServiceStore
) -> None:
    twin = ServiceStore.open(url, "me")  # as if it had been frozen before the other led
    assert twin.lead(0)
    assert other.lead(0)
    assert store.lead(60)
    with pytest.raises(LostLeadError):
        twin.decide(FIRED)
    assert store.decide(FIRED)
    twin.close()


# ── what is decided ─────────────────────────────────────────────────────────────────────────


def test_all_of_a_decision_is_recorded(store: ServiceStore, queries: ServiceQueries) -> None:
    assert store.decide(FIRED)
    found = schedule(queries)
    assert (found.decided_until, found.sweep_id, found.blocked) == (ONE, "s1", None)
    assert queries.fires("h1", 9) == [FIRE]
    assert the_sweep(queries).state == "queued"
    (job,) = queries.jobs("queued")
    assert (job.sweep_id, job.flags, job.priority) == ("s1", {"concurrent": 2}, 4)
    assert [each.id for each in queries.due_notices(9)] == ["n1"]


def test_an_instant_is_decided_once(store: ServiceStore, url: str) -> None:
    assert store.decide(FIRED)
    once = dump(url)
    assert not store.decide(FIRED)
    late = replace(FIRED, decided_until=TWO, fires=(replace(FIRE, due_at=TWO),))
    assert not store.decide(late)  # it was read before
    assert dump(url) == once


@pytest.mark.parametrize("state", ["paused", "ended"])
def test_what_was_paused_meanwhile_does_not_fire(state: str, store: ServiceStore, url: str) -> None:
    store.change_schedule("h1", state=state)
    before = dump(url)
    assert not store.decide(FIRED)
    assert dump(url) == before


def test_a_schedule_that_was_removed_does_not_fire(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    store.decide(FIRED)
    store.remove_schedule("h1")
    assert not store.decide(replace(FIRED, schedule=replace(HOURLY, decided_until=ONE)))
    assert (queries.schedules(), queries.fires("h1", 9)) == ([], [])
    assert the_sweep(queries).state == "queued"


def test_why_it_is_blocked_stays_until_the_next_decision(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    skipped = replace(FIRE, state="skipped", sweep_id=None, reason="blocked: gone")
    assert store.decide(Decision(HOURLY, ONE, (skipped,), blocked="gone"))
    found = schedule(queries)
    assert (found.blocked, found.sweep_id) == ("gone", None)
    two = replace(FIRE, due_at=TWO)
    assert store.decide(Decision(found, TWO, (two,), new=(NewSweep(words("s1"), {}),)))
    assert schedule(queries).blocked is None
    assert [each.due_at for each in queries.fires("h1", 9)] == [TWO, ONE]
    assert [each.due_at for each in queries.fires("h1", 9, before=TWO)] == [ONE]


def test_the_sweep_that_is_replaced_is_cancelled_and_the_new_one_waits_for_it(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    store.decide(FIRED)
    new = NewSweep(words("s2"), {}, after="s1")
    two = replace(FIRE, due_at=TWO, sweep_id="s2")
    found = schedule(queries)
    assert store.decide(Decision(found, TWO, (two,), new=(new,), replaced=("s1",)))
    assert the_sweep(queries).state == "cancelled"
    claimed = store.claim(9, 60, NOW)
    assert claimed is not None
    assert claimed.sweep_id == "s2"


def test_of_several_that_come_together_each_replaces_the_one_before(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    new = (NewSweep(words("s1"), {}), NewSweep(words("s2"), {}, after="s1"))
    fires = (FIRE, replace(FIRE, due_at=TWO, sweep_id="s2"))
    assert store.decide(Decision(HOURLY, TWO, fires, new=new, replaced=("s1",)))
    assert [each.sweep_id for each in queries.jobs("queued")] == ["s2"]
    assert the_sweep(queries).state == "cancelled"


def test_a_running_sweep_is_asked_to_end_by_its_driver(
    url: str, store: ServiceStore, queries: ServiceQueries
) -> None:
    store.decide(FIRED)
    driver = Store.open(url)
    assert driver.take("s1", "driver", 60) is None
    driver.close()
    new = NewSweep(words("s2"), {}, after="s1")
    two = replace(FIRE, due_at=TWO, sweep_id="s2")
    store.decide(Decision(schedule(queries), TWO, (two,), new=(new,), replaced=("s1",)))
    assert (the_sweep(queries).state, the_sweep(queries).request) == ("running", "cancel")


def test_more_trials_are_added_to_a_sweep_that_ended_and_it_is_queued(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    store.decide(FIRED)
    store.claim(9, 60, NOW)
    store.started("s1", "here:1:1")
    store.end_job("s1", "here:1:1", 0, "", NOW)
    two = replace(FIRE, due_at=TWO)
    more = MoreTrials("s1", 5, {}, 2)
    extended = Decision(schedule(queries), TWO, (two,), more=more)
    assert store.decide(extended)
    assert not store.decide(extended)
    assert the_sweep(queries).spec["trials"] == 8
    assert [(each.sweep_id, each.priority) for each in queries.jobs("queued")] == [("s1", 2)]


def test_it_fires_by_hand_once_whoever_leads_and_nothing_moves_on(
    url: str, other: ServiceStore, queries: ServiceQueries
) -> None:
    by_hand = replace(FIRED, decided_until=MIDNIGHT, fires=(replace(FIRE, due_at=NOW),))
    other.run_now(by_hand)
    once = dump(url)
    other.run_now(by_hand)
    assert dump(url) == once
    assert (schedule(queries).decided_until, schedule(queries).sweep_id) == (MIDNIGHT, "s1")
    assert [each.due_at for each in queries.fires("h1", 9)] == [NOW]


# ── schedules ───────────────────────────────────────────────────────────────────────────────


def test_a_name_that_is_taken_is_refused(url: str, store: ServiceStore) -> None:
    before = dump(url)
    with pytest.raises(NameTakenError, match="called 'hourly' already"):
        store.add_schedule(replace(HOURLY, id="h2"))
    assert dump(url) == before


def test_of_many_that_add_one_name_at_once_one_does(
    url: str, store: ServiceStore, queries: ServiceQueries
) -> None:
    added, refused = list[str](), list[str]()
    together = threading.Barrier(6)

    def add(id: str) -> None:
        opened = ServiceStore.open(url, id)
        together.wait()
        try:
            opened.add_schedule(replace(HOURLY, id=id, name="nightly"))
            added.append(id)
        except NameTakenError:
            refused.append(id)
        opened.close()

    threads = [threading.Thread(target=add, args=(f"n{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert added == [each.id for each in queries.schedules() if each.name == "nightly"]
    assert len(refused) == 5


# ── notices ─────────────────────────────────────────────────────────────────────────────────


def test_a_notice_is_told_until_it_arrives(store: ServiceStore, queries: ServiceQueries) -> None:
    store.tell([NOTICE])
    assert [each.id for each in queries.due_notices(9)] == ["n1"]
    store.untold("n1", "answered 500", 0.05)
    (found,) = queries.notices(9)
    assert (found.tries, found.error, found.delivered_at) == (1, "answered 500", None)
    time.sleep(0.1)
    assert [each.id for each in queries.due_notices(9)] == ["n1"]
    store.told("n1", NOW)
    (found,) = queries.notices(9)
    assert (found.tries, found.error, found.delivered_at) == (2, None, NOW)
    assert queries.due_notices(9) == []


def test_a_notice_waits_for_its_pause(store: ServiceStore, queries: ServiceQueries) -> None:
    store.tell([NOTICE])
    store.untold("n1", "no answer", 60)
    assert queries.due_notices(9) == []


def test_a_notice_that_was_refused_too_often_is_told_no_more(
    store: ServiceStore, queries: ServiceQueries
) -> None:
    store.tell([NOTICE])
    store.untold("n1", "no answer", None)
    assert queries.due_notices(9) == []
    (found,) = queries.notices(9)
    assert (found.next_at, found.delivered_at) == (None, None)


def test_a_notice_that_arrived_is_not_told_again(url: str, store: ServiceStore) -> None:
    store.tell([NOTICE])
    store.told("n1", NOW)
    once = dump(url)
    store.tell([replace(NOTICE, payload={})])
    store.told("n1", TWO)
    store.untold("n1", "no answer", 1)
    assert dump(url) == once


# ── sent twice ──────────────────────────────────────────────────────────────────────────────

MOVES: dict[str, Callable[[ServiceStore], object]] = {
    "add": lambda store: store.add_schedule(replace(HOURLY, id="h2", name="other")),
    "change": lambda store: store.change_schedule("h1", state="paused"),
    "remove": lambda store: store.remove_schedule("h1"),
    "resign": lambda store: store.resign(),
    "tell": lambda store: store.tell([NOTICE]),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_move_that_is_sent_twice_is_made_once(move: str, url: str, store: ServiceStore) -> None:
    before = dump(url)
    MOVES[move](store)
    once = dump(url)
    MOVES[move](store)
    assert before != once
    assert dump(url) == once
