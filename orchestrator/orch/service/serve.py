"""The service as a process: three loops over the database, and the server of the API."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import uvicorn

from orch import registry
from orch.errors import StorageError, first_line
from orch.home import Home
from orch.service import access, notices, processes
from orch.service.api import app
from orch.service.notices import Messenger
from orch.service.queue import Runner, is_gone
from orch.service.scheduler import LEAD_SECONDS, Scheduler, utc_now
from orch.service.state import Service, serving
from orch.settings import Settings
from orch_db.errors import DatabaseError

LOOK_SECONDS = 0.5  # between looks at queue and schedules
TELL_SECONDS = 1.0
REFRESH = timedelta(minutes=1)  # between looks at which plugins are installed
PARTING_SECONDS = 5  # that open connections get at the end

Say = Callable[[str], None]


class Loop(threading.Thread):
    """Does something again and again; what the database refuses, it says once and tries again."""

    def __init__(self, name: str, tick: Callable[[], object], seconds: float, say: Say) -> None:
        super().__init__(name=name, daemon=True)
        self._tick, self._seconds, self._say = tick, seconds, say
        self._over = threading.Event()
        self._last = ""

    def run(self) -> None:
        """Until it is told to end."""
        while not self._over.is_set():
            try:
                self._tick()
                self._last = ""
            except DatabaseError as error:
                self._complain(error.message)
            except Exception as error:  # one bad row must not end what others wait for
                self._complain(f"a bug in orch: {type(error).__name__}: {first_line(error)}")
            self._over.wait(self._seconds)

    def end(self) -> None:
        """Stop, once what is under way is done."""
        self._over.set()
        self.join()

    def _complain(self, what: str) -> None:
        if what != self._last:
            self._say(f"{self.name}: {what}")
        self._last = what


@dataclass
class Leading:
    """Makes schedules fire while this service leads."""

    scheduler: Scheduler
    say: Say
    leads: bool = False
    _renewed: datetime = field(default_factory=lambda: utc_now() - timedelta(days=1))
    _refreshed: datetime = field(default_factory=utc_now)

    def tick(self) -> None:
        """Lead or follow; decide what has come."""
        now = utc_now()
        if not self.leads or (now - self._renewed).total_seconds() > LEAD_SECONDS / 3:
            before, self.leads = self.leads, self._lead()
            self._renewed = now
            if self.leads and not before:
                self.say("this service makes schedules fire")
        if now - self._refreshed > REFRESH:
            self._refreshed = now
            registry.forget()
        if self.leads:
            try:
                self.scheduler.tick()
            except DatabaseError:
                self.leads = False
                raise

    def _lead(self) -> bool:
        former = self.scheduler.queries.leader()
        gone = former.holder if former is not None and is_gone(former.holder) else None
        return self.scheduler.store.lead(LEAD_SECONDS, gone)


def run(settings: Settings, home: Home, url: str, say: Say) -> None:
    """Serve until SIGINT or SIGTERM. Sweeps that run go on; the next service finds them again.

    Raises:
        UsageError: it would be open to others, or a target of notices cannot be meant.
        StorageError: the address is taken.
        DatabaseError: the database cannot be opened.
    """
    allowed = access.allow(settings, home)
    notices.check(settings)
    name = processes.identity(os.getpid())
    with serving(settings, home, url, name) as service, _listening(settings) as sock:
        loops = _loops(service, name, say)
        config = uvicorn.Config(
            app.make(service, allowed),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=PARTING_SECONDS,
        )
        for loop in loops:
            loop.start()
        token = "ORCH_TOKEN" if settings.token else access.token_file(home)
        say(f"orch serve on {address(settings.host, sock)}, token in {token}")
        try:
            uvicorn.Server(config).run(sockets=[sock])
        finally:
            for loop in loops:
                loop.end()
            service.store.resign()


def _loops(service: Service, name: str, say: Say) -> list[Loop]:
    settings, home = service.settings, service.home
    runner = Runner(service.store, service.queries, settings, home, name)
    leading = Leading(service.scheduler, say)
    messenger = Messenger(service.store, service.queries, settings)
    return [
        Loop("queue", runner.tick, LOOK_SECONDS, say),
        Loop("schedules", leading.tick, LOOK_SECONDS, say),
        Loop("notices", messenger.tick, TELL_SECONDS, say),
    ]


def _listening(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sends at once what it is told to (TCP_NODELAY) only where the protocol is named; else
    # the body of an answer waits for the client to acknowledge its headers, 40 ms on Linux.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        sock.close()
        raise StorageError(
            f"orch serve cannot listen on {settings.host} port {settings.port} "
            f"({first_line(error)}); nothing was started",
            "choose another: orch serve --port 8700",
        ) from None
    return sock


def address(host: str, sock: socket.socket) -> str:
    """The URL of a listening socket."""
    port = sock.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
