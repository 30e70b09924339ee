"""Sweeps through the real Ray, Tune, Optuna and database whose trials train nothing.

As a script it is a driver to be killed: `python fake_sweeps.py URL LEDGER --trials 6 …` starts a
sweep, or goes on with it where it is there. Whatever the database has acknowledged is appended
to LEDGER, a file outside the product.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from orch import registry, search_space
from orch.catalog import Installed
from orch.contracts import Problem
from orch.errors import OrchError
from orch.home import Home, publishing
from orch.planning.spec import PlannedSweep, SweepSpec
from orch.search import Search
from orch.settings import Settings
from orch.space import Fixed, render
from orch.sweeps import life
from orch.sweeps.director import SweepRun
from orch.sweeps.history import Former
from orch.sweeps.progress import SweepProgress
from orch.testing import TINY_BACKBONE
from orch.training.examples import Selection
from orch.trials import EpochReport, Objective, TrialOutcome, TrialSpec
from orch_db.errors import DatabaseError
from orch_db.queries import Queries
from orch_db.records import EpochRecord, SweepRecord, TrialRecord
from orch_db.store import Store

PLANNED_ID = "0123456789ab"


def planned(trials: int, epochs: int, identity: str = PLANNED_ID, **changes: Any) -> PlannedSweep:
    """A sweep over depth and rate of a network that is never built."""
    strategy = registry.load_strategy("fine-tune")
    problem = Problem(registry.load_dataset("digits").facts, TINY_BACKBONE, 100)
    stated = {"epochs": Fixed(epochs), "frozen_layers": Fixed(3)}
    domains, first = search_space.merge(
        "fine-tune", strategy.parameters(problem), stated, TINY_BACKBONE
    )
    values: dict[str, Any] = {
        "id": identity,
        "name": "fake",
        "dataset": "digits",
        "dataset_digest": "d" * 64,
        "limit": None,
        "strategy": "fine-tune",
        "backbone": "tiny",
        "weights_digest": "w" * 64,
        "space": {name: render(domain) for name, domain in domains.items()},
        "first": first,
        "objective": Objective(),
        "trials": trials,
        "seconds": None,
        "sampler": "random",
        "pruner": "none",
        "seed": 0,
        "keep": 0,
    }
    spec = SweepSpec(**{**values, **changes})
    installed = Installed("digits", "d" * 64, "canonical", "", 0, (), {})
    plan = strategy.plan(first, problem)
    roles = (
        Selection("train", "train", np.arange(100)),
        Selection("validation", "t", np.arange(9)),
    )
    return PlannedSweep(spec, installed, {}, roles, problem, strategy, plan)


def record(made: PlannedSweep) -> SweepRecord:
    """The row of a planned sweep."""
    spec = made.spec
    words = (spec.id, spec.name, "queued", spec.dataset, spec.strategy, spec.backbone)
    objective = (spec.objective.metric, spec.objective.direction)
    return SweepRecord(*words, *objective, spec.board, spec.to_json(), {}, None, "2026-01-01")


def steps(spec: TrialSpec, home: Home) -> Generator[EpochReport, None, TrialOutcome]:
    """Epochs that take $FAKE_SECONDS each and are saved, so that a later attempt goes on."""
    seconds = float(os.environ.get("FAKE_SECONDS", "0.05"))
    saved = home.running / f"{spec.id}.json"
    again = spec.attempt > 1 and saved.exists()
    done = json.loads(saved.read_text())["epochs"] if again else 0
    _write_pid(home)
    for epoch in range(min(done, spec.known_epochs) + 1, int(spec.params["epochs"]) + 1):
        if epoch > done:
            time.sleep(seconds)
            with publishing(saved) as file:
                file.write(json.dumps({"epochs": epoch}).encode())
        yield EpochReport(epoch, 1, {"val_accuracy": value(spec.number, epoch)}, seconds)
    last = int(spec.params["epochs"])
    metrics = {"val_accuracy": value(spec.number, last)}
    return TrialOutcome(metrics["val_accuracy"], last, metrics, seconds * last)


def value(number: int, epoch: int) -> float:
    """What a trial scores after an epoch: known beforehand, so that rows can be checked."""
    return 0.5 + number / 10_000 + epoch / 1_000_000


def _write_pid(home: Home) -> None:
    folder = home.root / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(os.getpid())).touch()


class Ledger(Store):
    """A store that writes down, outside the database, what the database has acknowledged."""

    file = Path()

    def add_epoch(self, epoch: EpochRecord, worker: str | None) -> bool:
        taken = super().add_epoch(epoch, worker)
        if taken:
            self._note("epoch", epoch.trial_id, epoch.attempt, epoch.epoch)
        return taken

    def end(self, trial: TrialRecord, **values: Any) -> bool:
        taken = super().end(trial, **values)
        if taken:
            self._note("end", trial.id, trial.attempt, values["state"], values["score"])
        return taken

    def _note(self, *what: Any) -> None:
        handle = os.open(self.file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        os.write(handle, (json.dumps(what) + "\n").encode())
        os.close(handle)


class Silent:
    """A watcher that is shown everything and says nothing."""

    def show(self, progress: SweepProgress) -> None: ...

    def trial_ended(self, trial: TrialRecord, progress: SweepProgress) -> None: ...

    def trial_again(self, trial: TrialRecord, why: str, progress: SweepProgress) -> None: ...


def abandon(error: OrchError) -> NoReturn:
    print(f"{error.message} → {error.hint}", file=sys.stderr, flush=True)
    os._exit(error.exit_code)


def driver(url: str, home: Home, ledger: Path, **settings: Any) -> life.Driver:
    """A driver of fake trials on a database."""
    home.create()
    Ledger.file = ledger
    store, queries = Ledger.open(url), Queries.open(url)
    made = Settings(home=str(home.root), **settings)
    return life.Driver(made, home, store, queries, Silent(), abandon, steps)


class LostError(Exception):
    """A trainer that raises this has lost its process."""


def alone(
    it: life.Driver, made: PlannedSweep, search: Search, former: Former, *rest: Any
) -> SweepRun:
    """Take the place of Ray: one trial after the other in this process."""
    control, interrupts, _ = rest
    run = life.director(it, made, search, control, interrupts, 1)
    run.recall(former)
    while isinstance(spec := run.next_trial(), TrialSpec):
        run.on_start(spec.number)
        assert it.trainer is not None
        running = it.trainer(spec, home=it.home)
        try:
            while run.on_epoch(spec.number, next(running), "here:1") and not run.stop_now():
                continue
        except StopIteration as end:
            run.on_outcome(spec.number, end.value)
        except LostError as error:
            run.on_lost(spec.number, str(error))
        if run.stop_now():
            break
    run.close()
    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--id", default=PLANNED_ID)
    parser.add_argument("--concurrent", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="without Ray")
    options = parser.parse_args()
    if options.alone:
        setattr(life, "_directed", alone)  # noqa: B010
    made = planned(options.trials, options.epochs, options.id)
    home = Home(Path(os.environ["ORCH_HOME"]))
    try:
        it = driver(options.url, home, options.ledger, concurrent=options.concurrent)
        if it.queries.sweep(options.id) is None:
            life.start(it, made)
        else:
            life.resume(it, made)
    except OrchError as error:
        print(f"{error.message} → {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except DatabaseError as error:
        print(f"{error.message} → {error.hint}", file=sys.stderr)
        sys.exit(5)


if __name__ == "__main__":
    main()
