"""A trial that was interrupted goes on where it was, with the numbers it would have had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digit_trials import run, spec

from orch import registry
from orch.contracts import Augmentation, Optimizer, Plan, Problem, Schedule
from orch.home import Home
from orch.training import checkpoints, snapshots, trial
from orch.training.snapshots import Pace, Snapshot
from orch.training.workbench import Keeping, Workbench
from orch.trials import EpochReport, TrialOutcome, TrialSpec

pytestmark = pytest.mark.slow

ALWAYS = Keeping(checkpoint_seconds=0)
NOT_STORED = Keeping(features=False, checkpoint_seconds=0)

# Two stages of three epochs that shuffle, drop, decay, wait for plateaus and keep their best.
TWO = {"strategy": "two-stage", "head_epochs": 3, "epochs": 3, "start": "random"}
TWO |= {"frozen_layers": 22, "head_units": 16, "dropout": 0.5, "learning_rate": 1e-2}


class Case:
    """A plan that strategies of today cannot all ask for."""

    def __init__(self, optimizer: Optimizer, augmentation: Augmentation, keeping: Keeping) -> None:
        self.optimizer, self.augmentation, self.keeping = optimizer, augmentation, keeping

    def plan(self, made: Plan) -> Plan:
        plateau = Schedule("plateau", factor=0.5, patience=1)
        changes: dict[str, Any] = {"optimizer": self.optimizer, "schedule": plateau, "patience": 2}
        stages = tuple(replace(stage, **changes) for stage in made.stages)
        return replace(made, stages=stages, augmentation=self.augmentation)


CASES = {
    "adam": Case(Optimizer("adam", 0.01), Augmentation(), ALWAYS),
    "momentum": Case(Optimizer("sgd", 0.05, 0.9), Augmentation(), ALWAYS),
    "not stored": Case(Optimizer("adamw", 0.01, 0.0, 0.1), Augmentation(), NOT_STORED),
    "augmented": Case(
        Optimizer("rmsprop", 0.003, 0.5), Augmentation(zoom=0.2, rotation=20, flip=True), ALWAYS
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    found = CASES[request.param]
    strategy = registry.load_strategy("two-stage")
    plan = strategy.plan

    def planned(params: Any, problem: Problem) -> Plan:
        return found.plan(plan(params, problem))

    monkeypatch.setattr(strategy, "plan", planned)
    monkeypatch.setattr(registry, "load_strategy", lambda name: strategy)
    return found


def numbers(reports: list[EpochReport]) -> list[tuple[int, int, dict[str, float]]]:
    """All of a report but how long it took."""
    return [(each.epoch, each.stage, dict(each.metrics)) for each in reports]


def ending(outcome: TrialOutcome) -> dict[str, Any]:
    return {name: value for name, value in asdict(outcome).items() if name != "seconds"}


def interrupted(wanted: TrialSpec, bench: Workbench, epochs: int) -> list[EpochReport]:
    """Run a trial until it has reported so many epochs, and no further."""
    running = trial.trial_steps(wanted, bench)
    reports: Iterator[EpochReport] = (each for each in running if isinstance(each, EpochReport))
    made = [next(reports) for _ in range(epochs)]
    running.close()
    return made


def weights(home: Home, wanted: TrialSpec) -> dict[str, np.ndarray]:
    return checkpoints.load(checkpoints.path(home.checkpoints, wanted.id))


def assert_same_weights(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_a_trial_goes_on_after_any_epoch(home: Home, case: Case) -> None:
    """In a workbench that has run none, and in one that has run another trial since."""
    wanted = replace(spec(home, seed=5, **TWO), keep=True)
    bench = Workbench(home, case.keeping)
    outcome, reports = run(wanted, bench)
    assert outcome.failure is None
    assert {each.stage for each in reports} == {1, 2}
    best = weights(home, wanted)
    file = snapshots.path(home.running, wanted.id)
    for epochs in range(1, len(reports) + 1):
        assert not file.exists()
        assert numbers(interrupted(wanted, bench, epochs)) == numbers(reports[:epochs])
        run(replace(wanted, number=1, seed=6, keep=False), bench)
        checkpoints.path(home.checkpoints, wanted.id).unlink()
        other = Workbench(home, case.keeping) if epochs in (2, 4) else bench
        again = replace(wanted, attempt=2, known_epochs=epochs)
        ended, rest = run(again, other)
        assert numbers(rest) == numbers(reports[epochs:])
        assert ending(ended) == ending(outcome)
        assert_same_weights(weights(home, wanted), best)


# ── what is reported, what is kept ──────────────────────────────────────────────────────────


@pytest.fixture
def wanted(home: Home) -> TrialSpec:
    return spec(home, frozen_layers=26, head_units=8, dropout=0.5, epochs=4, start="random")


def test_epochs_that_nobody_heard_of_are_reported_again(home: Home, wanted: TrialSpec) -> None:
    bench = Workbench(home, ALWAYS)
    whole = run(wanted, bench)[1]
    for known in (0, 1, 2, 4):
        interrupted(wanted, bench, 3)
        again = run(replace(wanted, attempt=2, known_epochs=known), bench)[1]
        assert numbers(again) == numbers(whole[min(known, 3) :])
    interrupted(wanted, bench, 3)
    first = run(wanted, bench)[1]
    assert numbers(first) == numbers(whole), "a first attempt starts at the beginning"


def test_a_trial_of_halved_batches_goes_on_too(home: Home, wanted: TrialSpec) -> None:
    """But not where one of whole batches was."""
    bench, halved = Workbench(home, ALWAYS), replace(wanted, accumulate=2)
    whole = run(halved, bench)[1]
    for before, reported in ((halved, whole[2:]), (wanted, whole)):
        interrupted(before, bench, 2)
        again = run(replace(halved, attempt=2, known_epochs=2), Workbench(home, ALWAYS))[1]
        assert numbers(again) == numbers(reported)


def test_a_trial_that_was_never_saved_starts_over(home: Home, wanted: TrialSpec) -> None:
    bench = Workbench(home)
    whole = run(wanted, bench)[1]
    interrupted(wanted, bench, 2)
    snapshots.discard(home.running, [wanted.id])  # as if its process had been killed
    again = run(replace(wanted, attempt=2, known_epochs=2), bench)[1]
    assert numbers(again) == numbers(whole)


def test_a_trial_that_is_stopped_is_saved_where_it_stops(home: Home, wanted: TrialSpec) -> None:
    whole = run(wanted, Workbench(home))[1]
    interrupted(wanted, Workbench(home), 2)  # long before a minute has passed
    again = run(replace(wanted, attempt=2, known_epochs=2), Workbench(home))[1]
    assert numbers(again) == numbers(whole)[2:]


@pytest.mark.parametrize(
    ("error", "left"),
    [(None, False), (KeyError("x"), False), (MemoryError(), False), (OSError(28, "full"), True)],
)
def test_what_a_trial_leaves(
    home: Home,
    wanted: TrialSpec,
    error: Exception | None,
    left: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Workbench(home, ALWAYS)
    file = snapshots.path(home.running, wanted.id)
    interrupted(wanted, bench, 2)
    assert file.exists()
    train = trial.fit.train

    def failing(*words: Any) -> Iterator[Any]:
        yield from train(*words)
        if error:
            raise error

    monkeypatch.setattr(trial.fit, "train", failing)
    outcome, _ = run(replace(wanted, attempt=2), bench)
    assert (outcome.failure is None) == (error is None)
    assert file.exists() == left
    snapshots.discard(home.running, [wanted.id])


def test_what_is_left_is_discarded_trial_by_trial(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz", "c.npz", ".a.npz.x1"):
        (tmp_path / name).touch()
    snapshots.discard(tmp_path, ["a", "c", "never"])
    assert [each.name for each in tmp_path.iterdir()] == ["b.npz"]


def test_nothing_but_seconds_and_place_may_differ(home: Home, wanted: TrialSpec) -> None:
    plan = trial.make_plan(wanted, home, trial.backbones.describe(home, "vgg-mini"), 160)[0]
    cut = [trial.stages.Cut(26, "", "")]
    same = snapshots.fingerprint(wanted, plan, cut)
    for change in ({"attempt": 3}, {"known_epochs": 2}, {"hang_seconds": 9.0}, {"keep": True}):
        assert snapshots.fingerprint(replace(wanted, **change), plan, cut) == same
    for change in (
        *({"seed": 9}, {"limit": 100}, {"accumulate": 2}, {"number": 1}, {"sweep": "other"}),
        *({"dataset_digest": "0"}, {"weights_digest": "0"}, {"backbone": "vgg16"}),
        *({"strategy": "augmented"}, {"params": {}}, {"dataset_options": {"size": 1}}),
    ):
        assert snapshots.fingerprint(replace(wanted, **change), plan, cut) != same
    assert snapshots.fingerprint(wanted, replace(plan, stages=()), cut) != same
    assert snapshots.fingerprint(wanted, plan, [trial.stages.Cut(22, "", "")]) != same


# ── files that cannot be used, disks that refuse ────────────────────────────────────────────


def small() -> Snapshot:
    weights = {"head/0": np.arange(6, dtype=np.float32).reshape(2, 3), "head/1": np.zeros(0)}
    report = EpochReport(1, 1, {"loss": 0.1 + 0.2}, 0.5)
    order = np.random.default_rng(3).bit_generator.state
    values = [np.array(7), np.ones(3, np.float32)]
    return Snapshot(1, [report], order, weights, weights, {**weights}, values, [np.ones(2, "u4")])


def test_what_is_saved_is_what_is_read(tmp_path: Path) -> None:
    file, made = tmp_path / "t.npz", small()
    snapshots.save(file, made, "print")
    found = snapshots.load(file, "print")
    assert found is not None
    assert (found.stage, found.reports, found.order) == (made.stage, made.reports, made.order)
    assert found.stage_best is not found.trial_best
    for ours, theirs in ((found.weights, made.weights), (found.trial_best, made.trial_best)):
        assert_same_weights(dict(ours), dict(theirs))
    for ours, theirs in ((found.optimizer, made.optimizer), (found.random, made.random)):
        for left, right in zip(ours, theirs, strict=True):
            assert left.dtype == right.dtype
            assert np.array_equal(left, right)


def test_a_damaged_file_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Truncated anywhere or with any bit flipped, it is refused or has lost nothing."""
    file, made = tmp_path / "t.npz", small()
    snapshots.save(file, made, "print")
    whole, refused = file.read_bytes(), 0
    rng = np.random.default_rng(0)
    flips = [(int(at), int(bit)) for at in range(len(whole)) for bit in rng.permutation(8)[:1]]
    for at, bit in flips:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        found = snapshots.load(file, "print")
        refused += found is None
        assert found is None or found.reports == made.reports
        assert found is None or np.array_equal(found.weights["head/0"], made.weights["head/0"])
    assert refused > len(flips) / 2
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        assert snapshots.load(file, "print") is None
    assert "the trial starts over" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["truncated", "flipped", "other seed", "an array"])
def test_a_file_of_no_use_is_not_used(
    home: Home, wanted: TrialSpec, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Workbench(home, ALWAYS)
    whole = run(wanted, bench)[1]
    file = snapshots.path(home.running, wanted.id)
    interrupted(replace(wanted, seed=99 if damage == "other seed" else wanted.seed), bench, 2)
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        file.write_bytes(content[:-1000])
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "an array":
        with file.open("wb") as stream:
            np.save(stream, np.ones(3))
    capsys.readouterr()
    outcome, reports = run(replace(wanted, attempt=2, known_epochs=2), bench)
    assert outcome.failure is None
    assert numbers(reports) == numbers(whole)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"the trial starts over: {file}: ")


def test_a_full_disk_costs_a_trial_nothing(
    home: Home,
    wanted: TrialSpec,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = run(wanted, Workbench(home))[1]
    monkeypatch.setattr(Home, "running", property(lambda _: small_disk / "running"))
    (small_disk / "rest").write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096 - 8192))
    outcome, reports = run(wanted, Workbench(home, ALWAYS))
    assert outcome.failure is None
    assert numbers(reports) == numbers(whole)
    said = capsys.readouterr().err
    assert f"{wanted.id}.npz was not written: [Errno 28]" in said
    assert not list((small_disk / "running").iterdir()), "nothing half written is left"


# ── how often ───────────────────────────────────────────────────────────────────────────────


def test_saving_takes_a_twentieth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(snapshots.time, "monotonic", lambda: now[0])

    def after(pace: Pace, seconds: float) -> bool:
        now[0] += seconds
        return pace.due

    pace = Pace(60.0)
    assert (after(pace, 59.0), after(pace, 1.0)) == (False, True)
    pace.took(1.0)
    assert (after(pace, 59.0), after(pace, 1.0)) == (False, True)
    pace.took(30.0)
    assert (after(pace, 599.0), after(pace, 1.0)) == (False, True)
    every = Pace(0)
    assert every.due
    every.took(30.0)
    assert every.due
