"""Every error that a user may meet, as one tree.

OrchError                       exit code
├── UsageError                  2   words, settings, values out of range
├── NotFoundError               3   no such dataset, strategy, sweep, trial
├── DataError                   4   files that are missing, damaged or not what they claim
├── StorageError                5   database, disk
├── PluginError                 6   a dataset or strategy that breaks its contract
├── ClusterError                7   Ray or all its workers lost
├── NoTrialCompletedError       8   the sweep ended without a result
├── SomeTrialsFailedError       9   --strict was given and a trial failed
└── InterruptedSweepError     130   Ctrl-C (143: SIGTERM); the state is saved

A message is one line: what happened, where, and what is safe. The hint is what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OrchError(Exception):
    """An error with a one-line message, a hint and the exit code of the command it ends."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(OrchError):
    """The words of a command or a setting cannot be understood or are out of range."""

    exit_code = 2


class NotFoundError(OrchError):
    """Something was named that is not there."""

    exit_code = 3

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str], hint: str = "") -> NotFoundError:
        """Say that no `kind` is called `name`, and which known names come nearest."""
        return cls(f"no {kind} is called {name!r}{nearest(name, known)}", hint)


class DataError(OrchError):
    """A file is missing, damaged, or not what it claims to be."""

    exit_code = 4


class StorageError(OrchError):
    """The database or the disk refused."""

    exit_code = 5


class PluginError(OrchError):
    """A dataset or strategy plugin cannot be loaded or breaks its contract."""

    exit_code = 6


class ClusterError(OrchError):
    """Ray could not be started or reached, or all its workers are lost."""

    exit_code = 7


class NoTrialCompletedError(OrchError):
    """A sweep ended and not one of its trials completed."""

    exit_code = 8


class SomeTrialsFailedError(OrchError):
    """`--strict` was given and at least one trial failed."""

    exit_code = 9


class InterruptedSweepError(OrchError):
    """A sweep was interrupted; what it had finished is in the database."""

    exit_code = 130

    def __init__(self, message: str, hint: str = "", signal: int = 2) -> None:
        super().__init__(message, hint)
        self.exit_code = 128 + signal


FEW = 50  # names that an error can list: there are 39 backbones, and 600 time zones


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean …?)", or " (known: …)" where they are few, or nothing."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f" (did you mean {' or '.join(close)}?)"
    return f" (known: {', '.join(names)})" if 0 < len(names) <= FEW else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
