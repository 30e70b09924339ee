"""Ray. Nothing else imports it.

Ray Tune dispatches trials to workers that live as long as the sweep; every decision (what to
try, what to stop, when to end) is asked of a `Director`, and everything that happens is told
to it. Tune's own state is never read back.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

# Read by Ray when it is imported; DESIGN: its own log flood stays in files.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
}
for _name, _text in QUIET.items():
    os.environ.setdefault(_name, _text)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from orch.contracts import EpochReport, TrialOutcome, TrialSpec  # noqa: E402
from orch.errors import ClusterError, UsageError  # noqa: E402
from orch.home import Home  # noqa: E402

# Without GPUs, as many workers as cores, memory and this allow: on two cores, twelve trials on
# digits took 73 s with two workers of one thread and 107 s with one worker of two.
MOST_WORKERS = 8
WORKER_MEMORY = 2 * 2**30  # bytes that a worker with TensorFlow and a backbone may need
KNOCK_SECONDS = 5.0
OBJECT_STORE_BYTES = 128 * 2**20  # arrays travel as files, so Ray's own store can be small


class Director(Protocol):
    """Decides for the cluster and hears of everything that happens on it."""

    def next_trial(self) -> TrialSpec | Literal["wait", "done"]:
        """The next trial to dispatch; "wait" for now, or "done" for good."""
        ...

    def on_start(self, number: int) -> None:
        """A worker began with a trial."""
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


@dataclass(frozen=True)
class Demand:
    """What was asked for: 0 or -1 mean "choose" (see `Settings`)."""

    concurrent: int = 0
    gpus_per_trial: float = -1.0
    cpus_per_trial: int = 0


@dataclass(frozen=True)
class Slots:
    """How many trials run at once and what each gets; `spare` is True where more would fit."""

    concurrent: int
    cpus: int
    gpus: float
    spare: bool


def divide(cpus: int, gpus: float, memory: int, demand: Demand, trials: int) -> Slots:
    """Divide a cluster: a trial for each GPU, or else the cores among a few trials.

    Raises:
        UsageError: a trial asks for more than there is.
    """
    per_gpu = demand.gpus_per_trial if demand.gpus_per_trial >= 0 else min(1.0, gpus)
    per_gpu_fit = int(gpus / per_gpu + 1e-9) if per_gpu else cpus
    if per_gpu > gpus or demand.cpus_per_trial > cpus:
        raise UsageError(
            f"a trial asks for {per_gpu:g} GPUs and {demand.cpus_per_trial} cores, "
            f"the cluster has {gpus:g} and {cpus}",
            "lower --gpus-per-trial or --cpus-per-trial",
        )
    if per_gpu:
        fit = per_gpu_fit
    elif demand.cpus_per_trial:
        fit = cpus // demand.cpus_per_trial
    else:
        fit = max(1, min(cpus, MOST_WORKERS, memory // WORKER_MEMORY))
    wanted = demand.concurrent or min(fit, trials)
    each = demand.cpus_per_trial or max(1, cpus // max(wanted, fit if per_gpu else 1))
    most = min(cpus // each, per_gpu_fit)
    return Slots(min(wanted, most), each, per_gpu, most > wanted)


@contextmanager
def connected(address: str) -> Generator[tuple[int, float, int]]:
    """Join the cluster at `address`, or start one here on loopback; yields cores, GPUs, bytes.

    Raises:
        ClusterError: it cannot be reached or started.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        options.update(
            address="local",
            num_cpus=available_cores(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
        )
    else:
        options["address"] = address
    try:
        _knock(address)
        ray.init(**options)
    except (Exception, SystemExit) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = f"the Ray cluster at {address}" if address else "Ray"
        raise ClusterError(
            f"{where} did not answer ({reason}); nothing was started",
            "check --ray-address, or leave it out to run on this machine"
            if address
            else "orch doctor",
        ) from error
    try:
        resources: Mapping[str, float] = ray.cluster_resources()
        memory = int(resources.get("memory", WORKER_MEMORY))
        yield int(resources.get("CPU", 1)), resources.get("GPU", 0.0), memory
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Fail at once where nothing listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(director: Director, home: Home, slots: Slots, verify_store: bool) -> None:
    """Run trials until the director says it is done. Needs `connected`.

    Raises:
        ClusterError: Ray gave up.
    """
    adapter = _Adapter(director)
    environment = {
        name: os.environ[name] for name in ("KERAS_BACKEND", "PYTHONPATH") if name in os.environ
    }
    worker = tune.with_resources(
        tune.with_parameters(
            _Worker,
            setting=_Setting(home, slots.cpus, verify_store, environment),
        ),
        {"cpu": slots.cpus, "gpu": slots.gpus},
    )
    with tempfile.TemporaryDirectory(prefix="orch-tune-") as scratch:
        tuner = tune.Tuner(
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
        try:
            tuner.fit()
        except tune.TuneError as error:
            if adapter.failure is None:
                reason = str(error).strip().splitlines()[-1]
                raise ClusterError(f"Ray Tune gave up: {reason}", "orch doctor") from error
        if adapter.failure is not None:
            raise adapter.failure


def _trial_name(trial: Any) -> str:
    return f"trial-{trial.config['spec'].number}"


# ── the driver's side: Tune's seams, each one line to the director ──────────────────────────


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

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
        if "report" not in result:
            return TrialScheduler.CONTINUE
        go_on = self._adapter.epoch(trial, result["report"], result["worker"])
        return TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: Any) -> None:
        if "outcome" in result:
            self._adapter.outcome(trial, result["outcome"])

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._adapter.lost(trial, _reason(trial))


def _reason(trial: Any) -> str:
    """The line that says why Ray lost a worker, without the causes it lists for people."""
    lines = str(trial.get_error() or "").strip().splitlines()
    telling = [line for line in lines if "died" in line or "dead" in line] or lines
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


# ── the worker's side ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Setting:
    """What a worker needs to know of the machine it runs on."""

    home: Home
    threads: int
    verify_store: bool
    environment: Mapping[str, str]


class _Worker(tune.Trainable):
    """A process that runs trials one after another; each `step` is an epoch."""

    def setup(self, config: dict[str, Any], setting: _Setting | None = None) -> None:
        assert setting is not None
        _before_keras(setting)
        from orch.training.trial import Workbench

        self._bench = Workbench(setting.home, setting.verify_store)
        self._running: Generator[EpochReport, None, TrialOutcome] | None = None
        self._begin(config["spec"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config["spec"])
        return True

    def _begin(self, spec: TrialSpec) -> None:
        from orch.training.trial import trial_epochs

        self.cleanup()
        self._running = trial_epochs(spec, self._bench)

    def step(self) -> dict[str, Any]:
        assert self._running is not None
        try:
            return {"report": next(self._running), "worker": f"{os.uname().nodename}:{os.getpid()}"}
        except StopIteration as end:
            return {"outcome": end.value, "done": True}

    def cleanup(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None


def _before_keras(setting: _Setting) -> None:
    """Set what the backends read when they are imported: threads, and to grow GPU memory."""
    wanted = {
        "TF_NUM_INTRAOP_THREADS": str(setting.threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": str(setting.threads),
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        **setting.environment,
    }
    os.environ.update(wanted)
