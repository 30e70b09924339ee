"""Commands that leave sweeps to the service: over HTTP where ORCH_URL is set, else by --detach."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_sweeps
import pytest
from api_client import Api, api, completed
from orch_db_rows import trial
from sqlalchemy import insert, update

from orch.cli import detached
from orch.home import Home
from orch.service import processes
from orch_db.connect import open_engine
from orch_db.tables import Sweep, Trial

NOW = "2026-01-01T00:00:05.000+00:00"
SWEEP = ("sweep", "digits", "--trials", "2")


@pytest.fixture
def here(tmp_path: Path) -> Generator[Api]:
    """The service's side of the home in which commands work."""
    with api(Home(tmp_path / "home")) as found:
        yield found


def queued(found: Api) -> list[str]:
    """The ids of all sweeps of a service."""
    return [each.id for each in found.service.queries.sweeps()]


@pytest.mark.parametrize(
    "option", [("--dry-run",), ("--ray-address", "10.0.0.1:6379")], ids=lambda option: option[0]
)
def test_what_only_this_terminal_can_do_is_refused_and_queues_nothing(
    there: Api, orch: Callable[..., Any], option: tuple[str, ...]
) -> None:
    for words in ((*SWEEP, *option), (*SWEEP, *option, "--detach")):
        refused = orch(*words)
        assert refused.code == 2
        assert f"error: {option[0]} is for a sweep that runs in this terminal" in refused.err
    assert queued(there) == []


def test_a_plan_of_what_is_detached_is_refused(here: Api, orch: Callable[..., Any]) -> None:
    refused = orch(*SWEEP, "--dry-run", "--detach")
    assert refused.code == 2
    assert "leave it out, or go without --detach" in refused.err
    assert queued(here) == []


def test_a_place_in_the_queue_is_refused_where_nothing_is_queued(
    here: Api, orch: Callable[..., Any]
) -> None:
    refused = orch(*SWEEP, "--priority", "3")
    assert refused.code == 2
    assert "--priority 3 --detach" in refused.err
    assert queued(here) == []


# ── waiting ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what happens, one thing a time, between a command's looks at a sweep."""

    def happens(*things: Callable[[], object]) -> None:
        left: Iterator[Callable[[], object]] = iter(things)
        sleep = types.SimpleNamespace(sleep=lambda seconds: next(left)())
        monkeypatch.setattr(detached, "time", sleep)

    return happens


def end(found: Api, sweep: str, state: str, code: int, message: str = "") -> None:
    """What the process of a sweep of the queue records at its end."""
    assert found.service.store.claim(1, 60, NOW) is not None
    engine = open_engine(found.url, write=True)
    with engine.begin() as connection:
        connection.execute(update(Sweep).where(Sweep.id == sweep).values(state=state))
    engine.dispose()
    found.service.store.started(sweep, "here:1:1")
    assert found.service.store.end_job(sweep, "here:1:1", code, message, NOW)


def complete(found: Api) -> None:
    """The one sweep that is queued has completed, with a trial."""
    (sweep,) = queued(found)
    row = vars(trial(sweep_id=sweep, board="", state="completed", score=0.75, finished_at=NOW))
    engine = open_engine(found.url, write=True)
    with engine.begin() as connection:
        connection.execute(insert(Trial).values(**row))
    engine.dispose()
    end(found, sweep, "completed", 0)


def test_a_sweep_prints_its_document_once_it_has_ended(
    there: Api, orch: Callable[..., Any], meanwhile: Callable[..., None]
) -> None:
    meanwhile(lambda: complete(there))
    ran = orch(*SWEEP, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert (document["state"], document["best"]["score"]) == ("completed", 0.75)
    assert document == json.loads(orch("sweeps", "show", document["id"], "--json").out)


def test_a_sweep_prints_its_result_once_it_has_ended(
    there: Api, orch: Callable[..., Any], meanwhile: Callable[..., None]
) -> None:
    meanwhile(lambda: complete(there))
    ran = orch(*SWEEP)
    assert ran.code == 0, ran.err
    assert "0.7500" in ran.out
    assert "1 trial ended" in ran.err


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("words", [SWEEP, ("sweeps", "wait")], ids=["sweep", "wait"])
def test_ctrl_c_ends_the_wait_and_not_the_sweep(
    there: Api, orch: Callable[..., Any], meanwhile: Callable[..., None], words: tuple[str, ...]
) -> None:
    meanwhile(_interrupt)
    ran = orch(*words) if words == SWEEP else orch(*words, there.queue())
    (sweep,) = queued(there)
    assert ran.code == 130
    assert ran.err.endswith(
        f"sweep {sweep[:6]} stays in the queue; only the wait has ended\n"
        f"  try: orch sweeps wait {sweep[:6]}\n"
    )
    assert there.service.sweep(sweep).state == "queued"
    meanwhile(_interrupt)
    quiet = orch("sweeps", "wait", sweep, "--quiet")
    assert (quiet.code, quiet.err) == (130, "")


def test_ctrl_c_ends_the_following_of_a_log_and_not_the_sweep(
    here: Api, orch: Callable[..., Any], meanwhile: Callable[..., None]
) -> None:
    meanwhile(_interrupt)
    sweep = here.queue()
    ran = orch("sweeps", "logs", "-f", sweep)
    assert ran.code == 130
    assert f"sweep {sweep[:6]} goes on; only its log is no longer followed" in ran.err
    assert "error" not in ran.err


@pytest.mark.parametrize(
    ("state", "next_command"), [("paused", "resume"), ("stopped", "resume"), ("cancelled", "show")]
)
def test_wait_says_what_became_of_a_sweep_that_did_not_end(
    here: Api, orch: Callable[..., Any], state: str, next_command: str
) -> None:
    sweep = here.queue()
    end(here, sweep, state, 130)
    ran = orch("sweeps", "wait", sweep)
    assert ran.code == 130
    assert "error" not in ran.err
    assert f"sweep {sweep[:6]} is {state}\n  try: orch sweeps {next_command} {sweep[:6]}" in ran.err
    quiet = orch("sweeps", "wait", sweep, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (130, "", "")


def test_wait_says_why_a_sweep_failed_before_it_began(here: Api, orch: Callable[..., Any]) -> None:
    sweep = here.queue()
    end(here, sweep, "queued", 4, "birds has no examples; nothing was changed")
    ran = orch("sweeps", "wait", sweep)
    assert ran.code == 4
    assert "failed, 0 trials ended: birds has no examples; nothing was changed" in ran.err


def test_wait_says_why_all_trials_failed(here: Api, orch: Callable[..., Any]) -> None:
    sweep, first, *_ = completed()
    why = {"failure_kind": "data", "failure_message": "photo 3 cannot be decoded"}
    here.add(replace(sweep, state="failed"), replace(first, state="failed", score=None, **why))
    ran = orch("sweeps", "wait", sweep.id)
    assert ran.code == 8
    assert "failed, 1 trial ended: photo 3 cannot be decoded" in ran.err


def test_the_log_of_a_sweep_that_never_started_says_so(here: Api, orch: Callable[..., Any]) -> None:
    sweep = here.queue()
    waits = orch("sweeps", "logs", sweep)
    assert waits.code == 3
    assert "waits in the queue and has not started" in waits.err
    assert orch("sweeps", "cancel", sweep).code == 0
    for words in (("logs", sweep), ("logs", "-f", sweep)):
        never = orch("sweeps", *words)
        assert never.code == 3
        assert f"sweep {sweep[:6]}: it was cancelled while it waited" in never.err


def test_a_log_that_is_followed_begins_once_the_sweep_has_started(
    here: Api, orch: Callable[..., Any], meanwhile: Callable[..., None]
) -> None:
    sweep = here.queue()
    log = processes.log(here.service.home, sweep)

    def run() -> None:
        log.parent.mkdir(parents=True)
        log.write_text("trial 1\n")
        end(here, sweep, "completed", 0)

    meanwhile(lambda: None, run)
    ran = orch("sweeps", "logs", "-f", sweep)
    assert (ran.code, ran.out) == (0, "trial 1\n")
    assert ran.err == f"sweep {sweep[:6]} waits in the queue\n"


# ── going on with one ───────────────────────────────────────────────────────────────────────


def stopped(found: Api, state: str = "stopped") -> str:
    """The id of a sweep of four trials that did not run to its end."""
    sweep = replace(fake_sweeps.record(fake_sweeps.planned(4, 1, backbone="vgg-mini")), state=state)
    found.add(sweep)
    return sweep.id


WHERE = ("here", "there")  # with --detach, and by ORCH_URL


@pytest.fixture(params=WHERE)
def left(request: pytest.FixtureRequest, orch: Callable[..., Any]) -> tuple[Api, Any]:
    """A service, and what runs a command of which the sweep is left to it."""
    found: Api = request.getfixturevalue(request.param)
    more = ("--detach",) if request.param == "here" else ()
    return found, lambda *words: orch(*words, *more)


@pytest.mark.parametrize(("trials", "total"), [("6", 6), ("+1", 5)])
def test_a_sweep_is_extended_by_or_to_so_many_trials(
    left: tuple[Api, Any], trials: str, total: int
) -> None:
    found, orch = left
    sweep = stopped(found)
    words = ("sweeps", "extend", sweep[:6], "--trials", trials, "--priority", "7")
    ran = orch(*words)
    assert ran.code == 0, ran.err
    assert f"has {total} trials now, and is queued again" in ran.err
    assert found.service.sweep(sweep).spec["trials"] == total
    job = found.service.queries.job(sweep)
    assert job is not None
    assert (job.state, job.priority) == ("queued", 7)


def test_a_sweep_is_not_extended_to_what_it_has(left: tuple[Api, Any]) -> None:
    found, orch = left
    sweep = stopped(found)
    refused = orch("sweeps", "extend", sweep[:6], "--trials", "4")
    assert refused.code == 2
    assert "has 4 trials already; nothing was changed" in refused.err
    assert found.service.queries.job(sweep) is None


def test_a_cancelled_sweep_is_forked_into_a_queued_one(left: tuple[Api, Any]) -> None:
    found, orch = left
    sweep = stopped(found, "cancelled")
    ran = orch("sweeps", "resume", sweep[:6], "--fork", "--priority", "3")
    assert ran.code == 0, ran.err
    made = found.service.sweep(ran.out.strip())
    assert (made.state, made.parent, made.name) == ("queued", sweep, "fake")
    assert made.spec["trials"] == 4
    assert made.spec["words"]["space"]["epochs"] == "1"
    job = found.service.queries.job(made.id)
    assert job is not None
    assert (job.state, job.priority) == ("queued", 3)
    assert found.service.sweep(sweep).state == "cancelled"


def test_a_sweep_that_was_cancelled_while_it_waited_is_forked(left: tuple[Api, Any]) -> None:
    found, orch = left
    sweep = found.queue(trials=2)
    found.service.sweeps.extend(sweep, 2, 5)
    found.client.post(f"/api/v1/sweeps/{sweep}/cancel")
    ran = orch("sweeps", "resume", sweep, "--fork", "--json")
    assert ran.code == 0, ran.err
    made = json.loads(ran.out)
    assert (made["state"], made["parent"], made["spec"]["trials"]) == ("queued", sweep, 5)


def test_a_sweep_that_failed_can_be_cancelled_for_good(left: tuple[Api, Any]) -> None:
    found, orch = left
    sweep = stopped(found, "failed")
    assert orch("sweeps", "resume", sweep[:6]).code == 0, "it goes on"
    found.client.post(f"/api/v1/sweeps/{sweep}/cancel")
    assert found.service.sweep(sweep).state == "cancelled"
    refused = orch("sweeps", "resume", sweep[:6])
    assert refused.code == 2
    assert "was cancelled and does not go on" in refused.err


def test_a_priority_has_bounds_wherever_it_is_queued(left: tuple[Api, Any]) -> None:
    found, orch = left
    refused = orch("sweep", "digits", "--priority", "1001")
    assert refused.code == 2
    assert "'--priority': it should be less than or equal to 1000" in refused.err
    assert queued(found) == []


def test_a_sweep_is_resumed_in_its_place_in_the_queue(left: tuple[Api, Any]) -> None:
    found, orch = left
    sweep = stopped(found)
    ran = orch("sweeps", "resume", sweep[:6], "--priority", "-2", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["job"]["priority"] == -2


@pytest.mark.parametrize("verb", ["resume", "extend", "retry"])
@pytest.mark.parametrize("option", [("--concurrent", "2"), ("--strict",)])
def test_what_the_service_has_no_word_for_is_refused(
    left: tuple[Api, Any], verb: str, option: tuple[str, ...]
) -> None:
    found, orch = left
    sweep = stopped(found)
    needed = {"resume": (), "extend": ("--trials", "+1"), "retry": ("--failed",)}[verb]
    refused = orch("sweeps", verb, sweep[:6], *needed, *option)
    assert refused.code == 2
    assert f"error: {option[0]} is for a sweep that runs in this terminal" in refused.err
    assert found.service.queries.job(sweep) is None


@pytest.mark.parametrize("option", ["--priority", "--trials"])
def test_a_number_that_is_none_is_named_in_plain_words(
    orch: Callable[..., Any], option: str
) -> None:
    refused = orch("sweep", "digits", option, "many")
    assert refused.code == 2
    assert f"Invalid value for '{option}': this is not a whole number" in refused.err
