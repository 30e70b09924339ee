"""How a command asks for something of the service: over HTTP, or in its own process."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orch.cli.door import database_url, enter, reading

if TYPE_CHECKING:
    from orch.service.client import Client
    from orch.service.remote import RemoteQueries
    from orch.service.state import Service
    from orch_db.queries import Queries


def client() -> Client | None:
    """The service that ORCH_URL names; None where commands work on this machine."""
    settings, home = enter()
    if not settings.url:
        return None
    from orch.service.access import read_token
    from orch.service.client import Client

    return Client(settings.url, read_token(settings, home))


def looked_here() -> str:
    """What an error adds where ORCH_URL names a service that the command does not ask; else ""."""
    settings, home = enter()
    return f" in {home.root} on this machine; ORCH_URL is not asked" if settings.url else ""


@contextmanager
def results() -> Generator[Queries | RemoteQueries]:
    """What was swept: of the service that ORCH_URL names, or of this machine's database."""
    remote = client()
    if remote is None:
        with reading() as queries:
            yield queries
        return
    from orch.service.remote import RemoteQueries

    yield RemoteQueries(remote)


def ask(
    method: str,
    path: str,
    here: Callable[[Service], dict[str, Any]],
    body: dict[str, Any] | None = None,
    query: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The document that answers a request; `here` makes it where no service is asked."""
    remote = client()
    if remote is not None:
        return remote.ask(method, path, body, query)
    from orch.service.state import serving

    settings, home = enter()
    home.create()
    with serving(settings, home, database_url(settings, home)) as service:
        return here(service)
