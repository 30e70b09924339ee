"""Whether the head of a cluster still is there: without it Ray waits, then ends the program."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import psutil

LOOK_SECONDS = 1.0
KNOCK_SECONDS = 5.0
MISSED = 3  # knocks without an answer

Alive = Callable[[], bool]


def of_processes(processes: list[psutil.Process]) -> Alive:
    """The head of this machine's own cluster: it lives while all of these do."""

    def alive() -> bool:
        return all(each.is_running() and each.status() != "zombie" for each in processes)

    return alive


def at(address: str) -> Alive:
    """The head of a cluster elsewhere: it lives while it answers now and then."""
    missed = 0

    def alive() -> bool:
        nonlocal missed
        try:
            knock(address)
            missed = 0
        except OSError:
            missed += 1
        return missed < MISSED

    return alive


def knock(address: str) -> None:
    """Fail at once where nothing listens; Ray itself would try for minutes.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


@contextmanager
def watching(on_lost: Callable[[], None]) -> Generator[Callable[[Alive], None]]:
    """A thread that calls `on_lost` once a head no longer lives.

    What it yields is called with the head to watch. The thread of a sweep cannot be told: it
    waits inside Ray.
    """
    over = threading.Event()

    def watch(alive: Alive) -> None:
        while not over.wait(LOOK_SECONDS):
            if not alive():
                if not over.is_set():
                    on_lost()
                return

    def begin(alive: Alive) -> None:
        threading.Thread(target=watch, args=(alive,), name="head", daemon=True).start()

    try:
        yield begin
    finally:
        over.set()
