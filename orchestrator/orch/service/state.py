"""What the verbs of the service work with, in its own process and in a command's."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from orch.errors import NotFoundError
from orch.home import Home
from orch.service.scheduler import Scheduler
from orch.settings import Settings
from orch.sweeps.control import as_it_is
from orch_db.records import ScheduleRecord, SweepRecord, TrialRecord
from orch_db.service_queries import ServiceQueries
from orch_db.service_store import ServiceStore
from orch_db.store import Store


@dataclass(frozen=True)
class Service:
    """The database as the service reads and writes it, its settings, and its scheduler."""

    settings: Settings
    home: Home
    store: ServiceStore
    sweeps: Store
    queries: ServiceQueries

    @property
    def scheduler(self) -> Scheduler:
        """What makes schedules fire."""
        return Scheduler(self.store, self.queries, self.settings, self.home)

    def sweep(self, prefix: str) -> SweepRecord:
        """The sweep whose id begins so, as it is.

        Raises:
            NotFoundError: there is none.
        """
        found = self.queries.sweep(prefix)
        if found is None:
            raise NotFoundError(f"no sweep has an id that begins with {prefix!r}", "orch sweeps")
        return as_it_is(found)

    def trial(self, prefix: str) -> TrialRecord:
        """The trial whose id begins so.

        Raises:
            NotFoundError: there is none.
        """
        found = self.queries.trial(prefix)
        if found is None:
            raise NotFoundError(f"no trial has an id that begins with {prefix!r}", "orch trials")
        return found

    def schedule(self, word: str) -> ScheduleRecord:
        """The schedule of a name, or whose id begins so.

        Raises:
            NotFoundError: there is none.
        """
        found = self.queries.schedule(word)
        if found is None:
            raise NotFoundError(f"no schedule is called {word!r}", "orch schedules")
        return found


@contextmanager
def serving(settings: Settings, home: Home, url: str, name: str = "") -> Generator[Service]:
    """Open the database as the service of a name, or a command, works with it.

    Raises:
        DatabaseError: it cannot be opened.
    """
    busy, network = settings.busy_seconds, settings.allow_network_filesystem
    with ExitStack() as stack:
        sweeps = stack.enter_context(
            closing(Store.open(url, busy_seconds=busy, allow_network=network))
        )
        store = stack.enter_context(
            closing(ServiceStore.open(url, name, busy_seconds=busy, allow_network=network))
        )
        queries = stack.enter_context(closing(ServiceQueries.open(url)))
        yield Service(settings, home, store, sweeps, queries)
