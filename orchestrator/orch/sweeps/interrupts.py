"""Ctrl-C once drains, twice stops, three times kills; SIGTERM counts the same, and so does a
terminal that is closed, unless `nohup` had it ignored.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Interrupts:
    """What the user's signals ask for: nothing, a drain, or a stop."""

    count: int = 0
    signal: int = signal.SIGINT

    @property
    def draining(self) -> bool:
        """Start nothing new."""
        return self.count >= 1

    @property
    def stopping(self) -> bool:
        """Do not wait for what runs."""
        return self.count >= 2

    @contextmanager
    def listen(self) -> Generator[Callable[[], None]]:
        """Count signals instead of dying of them; a third one kills as usual.

        What it yields is called again after libraries were started that handle signals too.
        """
        former = {number: signal.getsignal(number) for number in SIGNALS}
        if former[signal.SIGHUP] == signal.SIG_IGN:
            del former[signal.SIGHUP]

        def note(number: int, _: Any) -> None:
            self.count += 1
            self.signal = number
            if self.count >= 3:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        def attend() -> None:
            for number in former:
                signal.signal(number, note)

        try:
            attend()
            yield attend
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
