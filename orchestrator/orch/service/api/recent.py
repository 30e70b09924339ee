"""Answers that many ask for at the same time, made once a second at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

SECONDS = 1.0
MOST = 200  # answers that are kept


@dataclass
class Recent:
    """Answers, each with the instant it was made at."""

    _made: dict[Hashable, tuple[float, bytes]] = field(
        default_factory=dict[Hashable, tuple[float, bytes]]
    )

    def find(self, key: Hashable) -> bytes | None:
        """An answer that is no older than a second."""
        at, answer = self._made.get(key, (0.0, b""))
        return answer if answer and time.monotonic() - at <= SECONDS else None

    def make(self, key: Hashable, made: Callable[[], bytes]) -> bytes:
        """Make an answer, and keep it for a second; it is as old as the moment it was begun."""
        began = time.monotonic()
        answer = made()
        if len(self._made) >= MOST:
            self._made.clear()
        self._made[key] = (began, answer)
        return answer
