"""Ray Tune's seams, each one line to the director."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Callable
from typing import Any, Literal, Protocol

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orch.cluster.slots import Slots
from orch.cluster.worker import Setting, Trainer, Worker
from orch.errors import ClusterError
from orch.home import Home
from orch.training.workbench import Keeping
from orch.trials import EpochReport, Filling, TrialOutcome, TrialSpec


class Director(Protocol):
    """Decides for the cluster and hears of everything that happens on it."""

    def next_trial(self) -> TrialSpec | Literal["wait", "done"]:
        """The next trial to dispatch; "wait" for now, or "done" for good."""
        ...

    def on_start(self, number: int) -> None:
        """A worker began with a trial."""
        ...

    def on_filling(self, number: int, filling: Filling) -> bool:
        """A trial computes what it will read in every epoch; False stops it here."""
        ...

    def on_epoch(self, number: int, report: EpochReport, worker: str) -> bool:
        """An epoch ended; False stops the trial here."""
        ...

    def on_outcome(self, number: int, outcome: TrialOutcome) -> None:
        """A trial ended in its worker, well or badly."""
        ...

    def on_lost(self, number: int, message: str) -> None:
        """The process or machine that ran a trial is gone."""
        ...

    def stop_now(self) -> bool:
        """True ends the run without waiting for running trials."""
        ...


def run(
    director: Director,
    home: Home,
    slots: Slots,
    keeping: Keeping,
    trainer: Trainer | None = None,
) -> None:
    """Run trials until the director says it is done, on a cluster that was connected.

    Raises:
        ClusterError: Ray gave up.
    """
    adapter = _Adapter(director)
    environment = {
        name: os.environ[name] for name in ("KERAS_BACKEND", "PYTHONPATH") if name in os.environ
    }
    setting = Setting(home, slots.cpus, keeping, environment, trainer)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the director speaks of failures
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots.concurrent)  # else started one by one
    worker = tune.with_resources(
        tune.with_parameters(Worker, setting=setting),
        {"cpu": slots.cpus, "gpu": slots.gpus},
    )
    with tempfile.TemporaryDirectory(prefix="orch-tune-") as scratch:
        try:
            _tuner(worker, adapter, scratch).fit()
        except tune.TuneError as error:
            if adapter.failure is None:
                reason = str(error).strip().splitlines()[-1]
                raise ClusterError(f"Ray Tune gave up: {reason}", "orch doctor") from error
        if adapter.failure is not None:
            raise adapter.failure


def _tuner(worker: Any, adapter: _Adapter, scratch: str) -> tune.Tuner:
    return tune.Tuner(
        worker,
        tune_config=tune.TuneConfig(
            search_alg=_Search(adapter),
            scheduler=_Schedule(adapter),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            stop=_Stop(adapter),
            callbacks=[_Starts(adapter)],
            verbose=0,
            log_to_file=False,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _trial_name(trial: Any) -> str:
    spec = trial.config["spec"]
    return f"trial-{spec.number}-{spec.attempt}"


class _Adapter:
    """The director as Tune's parts see it. Tune pickles its parts; the director stays here.

    Tune would wrap what the director raises; here it is kept, ends the run and is raised after.
    """

    def __init__(self, director: Director) -> None:
        self._director = director
        self.numbers: dict[str, int] = {}
        self.failure: Exception | None = None

    def next_trial(self) -> TrialSpec | Literal["wait", "done"]:
        spec = self._guarded(self._director.next_trial)
        return "done" if spec is None else spec

    def start(self, trial: Any) -> None:
        self._guarded(self._director.on_start, self.numbers[trial.trial_id])

    def filling(self, trial: Any, filling: Filling) -> bool:
        number = self.numbers[trial.trial_id]
        return bool(self._guarded(self._director.on_filling, number, filling))

    def epoch(self, trial: Any, report: EpochReport, worker: str) -> bool:
        number = self.numbers[trial.trial_id]
        return bool(self._guarded(self._director.on_epoch, number, report, worker))

    def outcome(self, trial: Any, outcome: TrialOutcome) -> None:
        self._guarded(self._director.on_outcome, self.numbers[trial.trial_id], outcome)

    def lost(self, trial: Any, message: str) -> None:
        self._guarded(self._director.on_lost, self.numbers[trial.trial_id], message)

    def stop_now(self) -> bool:
        return self.failure is not None or bool(self._guarded(self._director.stop_now))

    def _guarded(self, call: Callable[..., Any], *values: Any) -> Any:
        if self.failure is None:
            try:
                return call(*values)
            except Exception as error:
                self.failure = error
        return None

    def __reduce__(self) -> Any:
        return (_Adapter, (None,))

    def __deepcopy__(self, memo: Any) -> _Adapter:
        return self


class _Search(Searcher):
    def __init__(self, adapter: _Adapter) -> None:
        super().__init__()
        self._adapter = adapter

    def suggest(self, trial_id: str) -> Any:
        spec = self._adapter.next_trial()
        if spec == "wait":
            return None
        if spec == "done":
            return Searcher.FINISHED
        self._adapter.numbers[trial_id] = spec.number
        return {"spec": spec}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the schedule tells the director."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the database is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the database is the truth."""


class _Schedule(FIFOScheduler):
    def __init__(self, adapter: _Adapter) -> None:
        super().__init__()
        self._adapter = adapter
        self._ended: Any = None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
        go_on = True
        if "filling" in result:
            go_on = self._adapter.filling(trial, result["filling"])
        if "report" in result:
            go_on = self._adapter.epoch(trial, result["report"], result["worker"])
        return TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Any) -> None:
        if "outcome" in result:
            self._adapter.outcome(trial, result["outcome"])
        if self._ended is not None:
            _forget(self._ended)
        self._ended = trial

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._adapter.lost(trial, _reason(trial))


def _forget(trial: Any) -> None:
    """Drop what Tune remembers of the results of a trial that is over: the database has them."""
    told = trial.run_metadata
    told.metric_analysis, told.metric_n_steps, told.last_result = {}, {}, {}


_TELLING = re.compile("died|dead|low on memory")


def _reason(trial: Any) -> str:
    """The line that says why Ray lost a worker, without the causes it lists for people."""
    lines = str(trial.get_error() or "").strip().splitlines()
    telling = [line for line in lines if _TELLING.search(line)] or lines
    return telling[-1].split(" Some common causes")[0] if telling else "the worker process is gone"


class _Starts(tune.Callback):
    def __init__(self, adapter: _Adapter) -> None:
        self._adapter = adapter

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self._adapter.start(trial)


class _Stop(tune.Stopper):
    def __init__(self, adapter: _Adapter) -> None:
        self._adapter = adapter

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._adapter.stop_now()
