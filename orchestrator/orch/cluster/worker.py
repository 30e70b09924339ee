"""The process that runs trials, one after another."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray import tune

from orch.home import Home
from orch.training import snapshots
from orch.training.workbench import Keeping
from orch.trials import EpochReport, Filling, TrialOutcome, TrialSpec

Steps = Generator[EpochReport | Filling, None, TrialOutcome]
Trainer = Callable[..., Steps]  # called with a TrialSpec and home=Home


@dataclass(frozen=True)
class Setting:
    """What a worker needs to know of the machine it runs on.

    `trainer` takes the place of training, in tests that are about everything else.
    """

    home: Home
    threads: int
    keeping: Keeping
    environment: Mapping[str, str]
    trainer: Trainer | None = None


class Worker(tune.Trainable):
    """A process that runs trials one after another; each `step` is an epoch."""

    def setup(self, config: dict[str, Any], setting: Setting | None = None) -> None:
        """Prepare the process, once, and begin with its first trial."""
        assert setting is not None
        _before_keras(setting)
        self._steps = _stepping(setting)
        self._running: Steps | None = None
        self._spec: TrialSpec = config["spec"]
        self._saved = setting.home.running
        self._begin(self._spec)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin with the next trial in the same process."""
        self._begin(new_config["spec"])
        return True

    def _begin(self, spec: TrialSpec) -> None:
        if self._running is not None:  # others go on, so it was stopped for good
            self.cleanup()
            snapshots.discard(self._saved, (self._spec.id,))
        self._spec, self._running = spec, self._steps(spec)

    def step(self) -> dict[str, Any]:
        """Take a step: an epoch's report, how far an array is filled, or after all the outcome."""
        assert self._running is not None
        try:
            made = next(self._running)
        except StopIteration as end:
            self._running = None
            return {"outcome": end.value, "done": True}
        if isinstance(made, Filling):
            return {"filling": made}
        return {"report": made, "worker": f"{os.uname().nodename}:{os.getpid()}"}

    def cleanup(self) -> None:
        """Let go of a trial that was stopped before its end."""
        if self._running is not None:
            self._running.close()
            self._running = None


def _stepping(setting: Setting) -> Callable[[TrialSpec], Steps]:
    """What takes a trial's steps in this process, with all that it keeps between trials."""
    if setting.trainer is not None:
        return partial(setting.trainer, home=setting.home)
    from orch.training.trial import trial_steps
    from orch.training.workbench import Workbench

    return partial(trial_steps, bench=Workbench(setting.home, setting.keeping))


def _before_keras(setting: Setting) -> None:
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
