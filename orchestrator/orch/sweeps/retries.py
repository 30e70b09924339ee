"""Which failures are tried again, and how."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orch.trials import Failure, FailureKind

LEAST_HANG = 600.0  # seconds; no batch takes so long

# How often a trial is tried again after a failure of each class; others will fail again.
RETRIES: Mapping[FailureKind, int] = {"worker lost": 3, "hung": 1, "out of memory": 1}
# What the search is told was bad, not missing: the configuration itself cannot work.
INFEASIBLE: frozenset[FailureKind | None] = frozenset(("not finite", "out of memory"))


def another(kind: FailureKind, before: Sequence[str]) -> bool:
    """Tell whether a trial gets another attempt after this failure and those `before` it."""
    return before.count(kind) < RETRIES.get(kind, 0)


def accumulate(before: Sequence[str]) -> int:
    """In how many parts each batch is computed: two once a trial ran out of memory."""
    return 2 if "out of memory" in before else 1


@dataclass(frozen=True)
class Limits:
    """How long a trial may take and how many may fail in a row, in seconds; 0: as orch chooses,
    and for a whole trial: as long as it takes.
    """

    hang_seconds: float = 0.0
    trial_seconds: float = 0.0
    most_failures: int = 10

    def hang(self, epochs: Sequence[float]) -> float:
        """Seconds without a batch after which a trial counts as hung, from what epochs took."""
        if self.hang_seconds:
            return self.hang_seconds
        return max(LEAST_HANG, 10 * statistics.median(epochs)) if epochs else LEAST_HANG


def why_lost(message: str, stacks: Path | None, seconds: float, limits: Limits) -> Failure:
    """The class of a lost attempt: its process ended itself, was killed for memory, or is gone.

    A process that ended itself left its `stacks` (`orch.training.watchdog`).
    """
    if stacks is not None:
        if limits.trial_seconds and seconds >= limits.trial_seconds:
            limit = f"the limit is {limits.trial_seconds:g} s (--trial-timeout)"
            return Failure("timeout", f"it ran for {seconds:.0f} s, {limit}; see {stacks}")
        return Failure("hung", f"it made no progress and was ended; see {stacks}")
    if "low on memory" in message or "OutOfMemoryError" in message:
        return Failure("out of memory", message)
    return Failure("worker lost", message)
