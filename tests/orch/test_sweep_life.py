"""How a sweep lives: what is tried again, what stops it, who may ask for what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_sweeps
import pytest
from fake_sweeps import PLANNED_ID, LostError, planned, value

from orch.clock import now
from orch.errors import (
    ClusterError,
    DataError,
    InterruptedSweepError,
    NoTrialCompletedError,
    OrchError,
    PluginError,
    StorageError,
    UsageError,
)
from orch.home import Home
from orch.settings import Settings
from orch.sweeps import life
from orch.sweeps.control import holding
from orch.trials import EpochReport, Failure, FailureKind, TrialOutcome, TrialSpec
from orch_db.records import SweepRecord, TrialRecord
from orch_db.store import Store

Steps = Generator[EpochReport, None, TrialOutcome]


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "_directed", fake_sweeps.alone)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/orch.db"


@pytest.fixture
def driver(tmp_path: Path, url: str) -> Iterator[life.Driver]:
    made = fake_sweeps.driver(url, Home(tmp_path / "home"), tmp_path / "ledger")
    yield made
    made.store.close()
    made.queries.close()


def epochs(spec: TrialSpec) -> Iterator[EpochReport]:
    for epoch in range(spec.known_epochs + 1, int(spec.params["epochs"]) + 1):
        yield EpochReport(epoch, 1, {"val_accuracy": value(spec.number, epoch)}, 0.01)


def calm(spec: TrialSpec, home: Home) -> Steps:
    yield from epochs(spec)
    return completed(spec)


def completed(spec: TrialSpec) -> TrialOutcome:
    last = int(spec.params["epochs"])
    return TrialOutcome(value(spec.number, last), last, {}, 0.1)


def failing(kind: FailureKind, *numbers: int) -> Callable[..., Steps]:
    """Trials of these numbers fail, all where none is named."""

    def steps(spec: TrialSpec, home: Home) -> Steps:
        yield from epochs(spec)
        if numbers and spec.number not in numbers:
            return completed(spec)
        return TrialOutcome(None, None, {}, 0.1, failure=Failure(kind, "it went wrong"))

    return steps


def run(driver: life.Driver, trainer: Callable[..., Steps], trials: int = 3) -> OrchError | None:
    """Start or go on with the sweep; returns the error that it ended with."""
    driver = replace(driver, trainer=trainer)
    made = planned(trials, epochs=3)
    try:
        if driver.queries.sweep(PLANNED_ID) is None:
            life.start(driver, made)
        else:
            life.resume(driver, made)
    except OrchError as error:
        return error
    return None


def the_sweep(driver: life.Driver) -> SweepRecord:
    found = driver.queries.sweep(PLANNED_ID)
    assert found is not None
    return found


def trials(driver: life.Driver) -> list[TrialRecord]:
    return driver.queries.trials(PLANNED_ID)


def states(driver: life.Driver) -> list[str]:
    return [each.state for each in trials(driver)]


def attempts(driver: life.Driver, number: int) -> list[tuple[str, str | None]]:
    wanted = next(each.id for each in trials(driver) if each.number == number)
    found = driver.queries.attempts(PLANNED_ID)
    return [(each.state, each.failure_kind) for each in found if each.trial_id == wanted]


# ── what is tried again ─────────────────────────────────────────────────────────────────────


def test_a_sweep_runs_to_its_end(driver: life.Driver) -> None:
    assert run(driver, calm) is None
    assert states(driver) == ["completed"] * 3
    assert (the_sweep(driver).state, the_sweep(driver).holder) == ("completed", None)


def test_a_lost_worker_s_trial_goes_on_from_its_epochs(driver: life.Driver) -> None:
    seen: list[tuple[int, int]] = []

    def loses(spec: TrialSpec, home: Home) -> Steps:
        seen.append((spec.attempt, spec.known_epochs))
        for report in epochs(spec):
            yield report
            if spec.number == 0 and spec.attempt < 3:
                raise LostError("the worker process is gone")
        return completed(spec)

    assert run(driver, loses, trials=1) is None
    assert seen == [(1, 0), (2, 1), (3, 2)]
    assert attempts(driver, 0) == [("lost", "worker lost")] * 2 + [("completed", None)]
    shown = [(each.attempt, each.epoch) for each in driver.queries.epochs(trials(driver)[0].id)]
    assert shown == [(1, 1), (2, 2), (3, 3)]


def test_a_worker_that_is_lost_again_and_again_fails_its_trial(driver: life.Driver) -> None:
    def always(spec: TrialSpec, home: Home) -> Steps:
        if spec.number == 1:
            raise LostError("the worker process is gone")
        yield from epochs(spec)
        return completed(spec)

    assert run(driver, always) is None
    assert states(driver) == ["completed", "failed", "completed"]
    assert [kind for _, kind in attempts(driver, 1)] == ["worker lost"] * 4
    assert trials(driver)[1].failure_message == "the worker process is gone"


def test_out_of_memory_is_tried_once_more_with_half_the_batch(driver: life.Driver) -> None:
    seen: list[tuple[int, int, int]] = []

    def hungry(spec: TrialSpec, home: Home) -> Steps:
        seen.append((spec.attempt, spec.accumulate, spec.known_epochs))
        yield from epochs(spec)
        if spec.accumulate == 1:
            return TrialOutcome(None, None, {}, 0.1, failure=Failure("out of memory", "no room"))
        return completed(spec)

    assert run(driver, hungry, trials=1) is None
    assert seen == [(1, 1, 0), (2, 2, 0)], "it starts over, with other steps"
    assert attempts(driver, 0) == [("lost", "out of memory"), ("completed", None)]


def test_out_of_memory_twice_is_infeasible(
    driver: life.Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    finish = life.Search.finish

    def note(self: life.Search, number: int, ending: Any, score: float | None) -> None:
        told.append(ending)
        finish(self, number, ending, score)

    monkeypatch.setattr(life.Search, "finish", note)
    run(driver, failing("out of memory", 0), trials=2)
    assert [kind for _, kind in attempts(driver, 0)] == ["out of memory"] * 2
    assert (states(driver), told) == (["failed", "completed"], ["infeasible", "completed"])


@pytest.mark.parametrize("kind", ["plugin", "not finite", "data", "configuration", "timeout"])
def test_what_would_fail_again_is_not_tried_again(driver: life.Driver, kind: FailureKind) -> None:
    assert run(driver, failing(kind, 1)) is None
    assert states(driver) == ["completed", "failed", "completed"]
    assert attempts(driver, 1) == [("failed", kind)]


@pytest.mark.parametrize(
    ("seconds", "kind"), [(0.0, "hung"), (0.001, "timeout")], ids=["hung", "timeout"]
)
def test_a_process_that_ended_itself_says_why(
    driver: life.Driver, seconds: float, kind: str
) -> None:
    def hangs(spec: TrialSpec, home: Home) -> Steps:
        yield next(epochs(spec))
        home.stacks.mkdir(parents=True, exist_ok=True)
        (home.stacks / f"{spec.id}-{spec.attempt}.txt").write_text("Timeout! File …")
        raise LostError("the worker process is gone")

    driver = replace(driver, settings=replace(driver.settings, trial_timeout=seconds))
    run(driver, hangs, trials=1)
    again = [("lost", "hung")] if kind == "hung" else []
    assert attempts(driver, 0) == [*again, ("failed", kind)]
    message = trials(driver)[0].failure_message or ""
    assert str(driver.home.stacks) in message
    last = trials(driver)[0].attempt
    assert trials(driver)[0].score == value(0, last), "the epochs that it had are kept"


def test_failed_trials_are_run_again_when_asked(driver: life.Driver) -> None:
    run(driver, failing("data", 1))
    assert driver.store.retry_failed(PLANNED_ID) == 1
    assert run(driver, calm) is None
    assert states(driver) == ["completed"] * 3
    assert attempts(driver, 1) == [("failed", "data"), ("completed", None)]


# ── what stops it ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("plugin", PluginError),
        ("data", DataError),
        ("worker lost", ClusterError),
        ("internal", NoTrialCompletedError),
    ],
)
def test_too_many_failures_in_a_row_stop_it(
    driver: life.Driver, kind: FailureKind, error: type[OrchError]
) -> None:
    few = replace(driver, settings=replace(driver.settings, max_failures_in_a_row=2))
    ended = run(few, failing(kind, 1, 2, 3, 4), trials=6)
    assert type(ended) is error
    assert ended.exit_code == error.exit_code
    assert f"2 trials in a row failed, the last: {kind} (it went wrong)" in ended.message
    assert "what ended before is saved" in ended.message
    assert "orch sweeps retry 012345 --failed" in ended.hint
    assert states(driver) == ["completed", "failed", "failed"]
    found = the_sweep(driver)
    assert (found.state, found.reason) == ("failed", f"2 trials in a row failed, the last: {kind}")


def test_failures_between_others_do_not_stop_it(driver: life.Driver) -> None:
    few = replace(driver, settings=replace(driver.settings, max_failures_in_a_row=2))
    assert run(few, failing("data", 0, 2, 4), trials=6) is None
    assert the_sweep(driver).state == "completed"


def test_a_full_disk_pauses_it_and_costs_nothing(driver: life.Driver) -> None:
    ended = run(driver, failing("storage", 1))
    assert isinstance(ended, StorageError)
    assert ended.exit_code == 5
    assert "was paused: it went wrong; what ended before is saved" in ended.message
    assert "orch sweeps resume 012345" in ended.hint
    assert (the_sweep(driver).state, states(driver)) == ("paused", ["completed", "queued"])
    assert run(driver, calm) is None
    assert states(driver) == ["completed"] * 3


def fill(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"0" * 1024)


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_a_full_database_loses_nothing_and_the_sweep_goes_on(
    small_disk: Path, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    it = fake_sweeps.driver(f"sqlite:///{small_disk}/orch.db", home, tmp_path / "ledger")
    filler = small_disk / "filler"

    def fills(spec: TrialSpec, home: Home) -> Steps:
        for report in epochs(spec):
            yield report
            if spec.number == 1 and not filler.exists():
                fill(filler)
        return completed(spec)

    ended = run(it, fills, trials=6)
    assert isinstance(ended, StorageError)
    assert ended.exit_code == 5
    assert "orch.db" in ended.message
    assert "what was recorded before is safe" in ended.message
    assert ended.hint.endswith("then orch sweeps resume 012345")
    assert states(it)[0] == "completed"
    filler.unlink()
    assert run(it, calm, trials=6) is None
    assert states(it) == ["completed"] * 6
    it.store.close()
    it.queries.close()


# ── what another terminal asks ──────────────────────────────────────────────────────────────


@pytest.fixture
def elsewhere(url: str, driver: life.Driver) -> Iterator[Store]:
    with closing(Store.open(url)) as store:
        yield store


def asking(
    driver: life.Driver, ask: Callable[[], object], heard: Callable[[Any], bool]
) -> Callable[..., Steps]:
    """Trials of which the second waits after an epoch until what was asked has arrived."""
    arrived = threading.Event()

    def steps(spec: TrialSpec, home: Home) -> Steps:
        for report in epochs(spec):
            yield report
            if spec.number == 1 and not arrived.is_set():
                ask()
                waited = threading.Event()
                for _ in range(100):
                    if heard(driver.queries.orders(PLANNED_ID)):
                        break
                    waited.wait(0.05)
                waited.wait(1.2)  # the driver looks every second
                arrived.set()
        return completed(spec)

    return steps


@pytest.mark.parametrize(
    ("wanted", "state", "after"),
    [
        ("pause", "paused", ["completed", "queued"]),
        ("stop", "stopped", ["completed", "completed"]),
        ("cancel", "cancelled", ["completed", "cancelled"]),
    ],
)
def test_it_does_what_another_terminal_asks(
    driver: life.Driver, elsewhere: Store, wanted: str, state: str, after: list[str]
) -> None:
    trainer = asking(
        driver,
        lambda: elsewhere.request(PLANNED_ID, wanted, now()),
        lambda orders: orders.request == wanted,
    )
    ended = run(driver, trainer)
    assert isinstance(ended, InterruptedSweepError)
    assert ended.exit_code == 130
    assert f"was {state}" in ended.message
    assert (the_sweep(driver).state, states(driver)) == (state, after)
    if wanted != "cancel":
        assert ended.hint == "orch sweeps resume 012345"
        assert run(driver, calm) is None
        assert states(driver) == ["completed"] * 3


def test_a_running_sweep_is_extended(driver: life.Driver, elsewhere: Store) -> None:
    trainer = asking(
        driver, lambda: elsewhere.extend(PLANNED_ID, 3, 5), lambda orders: orders.trials == 5
    )
    assert run(driver, trainer) is None
    assert states(driver) == ["completed"] * 5
    assert the_sweep(driver).spec["trials"] == 5


def test_a_driver_that_is_replaced_writes_no_more(driver: life.Driver, elsewhere: Store) -> None:
    holder = the_holder = ""

    def taken_over(spec: TrialSpec, home: Home) -> Steps:
        nonlocal holder
        for report in epochs(spec):
            if spec.number == 1:
                holder = the_sweep(driver).holder or ""
                elsewhere.take(PLANNED_ID, "another:1:x", 60, dead=holder)
            yield report
        return completed(spec)

    with pytest.raises(Exception, match="another process has taken over sweep 012345") as caught:
        run(driver, taken_over)
    assert type(caught.value).__name__ == "LostSweepError"
    the_holder = the_sweep(driver).holder or ""
    assert (the_holder, the_sweep(driver).state) == ("another:1:x", "running")
    assert states(driver) == ["completed", "running"]


def test_one_driver_at_a_time(driver: life.Driver, url: str, tmp_path: Path) -> None:
    run(driver, calm)
    other = fake_sweeps.driver(url, Home(tmp_path / "another"), tmp_path / "ledger")
    with holding(driver.store, driver.queries, PLANNED_ID, driver.home):
        for driving in (driver, other):
            with (
                pytest.raises(UsageError, match=r"is being run by .*; nothing was started"),
                holding(driving.store, driving.queries, PLANNED_ID, driving.home),
            ):
                raise AssertionError("two drivers hold one sweep")
    other.store.close()
    other.queries.close()


def test_settings_of_limits_reach_the_trials(driver: life.Driver) -> None:
    seen: list[tuple[float | None, float | None]] = []

    def notes(spec: TrialSpec, home: Home) -> Steps:
        seen.append((spec.hang_seconds, spec.trial_seconds))
        yield from (replace(each, seconds=100.0) for each in epochs(spec))
        return completed(spec)

    run(driver, notes, trials=2)
    assert seen == [(600.0, None), (1000.0, None)], "ten minutes, or ten epochs"
    seen.clear()
    settings = Settings(hang_timeout=5.0, trial_timeout=60.0)
    driver.store.extend(PLANNED_ID, 2, 3)
    run(replace(driver, settings=settings), notes, trials=3)
    assert seen == [(5.0, 60.0)]
