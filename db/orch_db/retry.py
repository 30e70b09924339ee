"""Sends a transaction again when what was in its way passes by itself.

A connection that is lost while a transaction commits leaves it in doubt: it may have been
recorded or not. Every action that is run here must therefore change nothing when it is run twice.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine

from orch_db.connect import is_sqlite, translated
from orch_db.errors import ConflictError, DatabaseError, LockedError, UnreachableError

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds
LOCKED_AGAIN = 3  # times, each after the busy timeout; SQLite also says "locked" without waiting

T = TypeVar("T")


def run(engine: Engine, action: Callable[[Connection], T], seconds: float) -> T:
    """Run an action in a transaction of its own, again where that may help.

    A lost connection, a deadlock or a serialization failure is answered for `seconds`; a locked
    SQLite database three times more.

    Raises:
        DatabaseError: what the last of them met.
    """
    deadline = time.monotonic() + seconds
    tries = 0
    while True:
        try:
            with translated(engine), engine.begin() as connection:
                return action(connection)
        except (UnreachableError, ConflictError, LockedError) as error:
            pause = _pause(tries)
            if not _again(error, engine, tries, deadline - time.monotonic() - pause):
                raise
        if not is_sqlite(engine.url):
            engine.dispose()  # the pool's other connections are to the same lost server
        time.sleep(pause)
        tries += 1


def _again(error: DatabaseError, engine: Engine, tries: int, left: float) -> bool:
    if isinstance(error, LockedError):
        return is_sqlite(engine.url) and tries < LOCKED_AGAIN
    return left > 0


def _pause(tries: int) -> float:
    """Exponential, and jittered so that processes that failed together do not meet again."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(tries, 10)) * random.uniform(0.5, 1.0)
