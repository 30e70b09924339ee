"""Why a sweep stops before its end, what becomes of what runs, and what is said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orch.errors import (
    ClusterError,
    DataError,
    InterruptedSweepError,
    NoTrialCompletedError,
    OrchError,
    PluginError,
    StorageError,
)
from orch.sweeps.control import Control
from orch.sweeps.interrupts import Interrupts
from orch.trials import Failure
from orch_db.records import TrialRecord


@dataclass(frozen=True)
class Halt:
    """Nothing new is started. Running trials end by themselves ("drain"), stop at their next
    report ("report"), or at once ("now"). `state` becomes the sweep's, `reason` is recorded,
    `error` is raised where it is no wish of the user.
    """

    state: Literal["stopped", "paused", "cancelled", "failed"]
    when: Literal["drain", "report", "now"]
    note: str = ""
    reason: str | None = None
    error: OrchError | None = None


DRAIN = Halt("stopped", "drain", "finishing the running trials; Ctrl-C again stops them")
STOP = Halt("stopped", "drain", "asked to stop: finishing the running trials")
STOP_NOW = Halt("stopped", "now", "stopping")
PAUSE = Halt("paused", "report", "asked to pause: running trials stop after their epoch")
CANCEL = Halt("cancelled", "now", "asked to cancel")
LATE = Halt("stopped", "now", "its time is up", "its time was up")

# The exit code of a sweep that failed too often is that of what went wrong last.
ERRORS: Mapping[str, type[OrchError]] = {
    "plugin": PluginError,
    "data": DataError,
    "storage": StorageError,
    "worker lost": ClusterError,
}


def wanted(control: Control, interrupts: Interrupts, late: bool) -> Halt | None:
    """What the user, another terminal and the clock want, the most urgent of it."""
    if control.lost is not None:
        message, hint = control.lost.message, control.lost.hint
        return Halt("failed", "now", message, message, StorageError(message, hint))
    if control.overdue:
        message = "the database could not be reached for too long"
        return Halt("failed", "now", message, message, StorageError(message, "orch db check"))
    if interrupts.stopping:
        return STOP_NOW
    if control.request == "cancel":
        return CANCEL
    if late:
        return LATE
    if control.request == "pause":
        return PAUSE
    if interrupts.draining:
        return DRAIN
    return STOP if control.request == "stop" else None


def too_many(count: int, last: TrialRecord) -> Halt:
    """Stop instead of burning what is left: so many trials in a row failed."""
    reason = f"{count} trials in a row failed, the last: {last.failure_kind}"
    error = ERRORS.get(last.failure_kind or "", NoTrialCompletedError)(
        f"sweep {last.sweep_id[:6]} was stopped: {reason} ({last.failure_message}); "
        "what ended before is saved",
        f"orch trials show {last.id[:6]}; then orch sweeps retry {last.sweep_id[:6]} --failed",
    )
    return Halt("failed", "now", reason, reason, error)


def no_room(sweep_id: str, failure: Failure) -> Halt:
    """Pause: the disk refused what a trial wanted to write."""
    error = StorageError(
        f"sweep {sweep_id[:6]} was paused: {failure.message}; what ended before is saved",
        f"{failure.hint or 'free some space (orch cache clear)'}, then: "
        f"orch sweeps resume {sweep_id[:6]}",
    )
    return Halt("paused", "report", "no space left: pausing", failure.message, error)


def raised(
    halt: Halt, interrupts: Interrupts, sweep_id: str, ended: int, trials: int
) -> OrchError | None:
    """What the driver's command ends with; nothing where the sweep's time was up."""
    if halt.error is not None or halt == LATE:
        return halt.error
    done = f"{ended} of {trials} trials have ended and are saved"
    word = {"stopped": "interrupted" if interrupts.count else "stopped"}.get(halt.state, halt.state)
    again = "show" if halt.state == "cancelled" else "resume"
    return InterruptedSweepError(
        f"sweep {sweep_id[:6]} was {word}; {done}",
        f"orch sweeps {again} {sweep_id[:6]}",
        signal=interrupts.signal,
    )
