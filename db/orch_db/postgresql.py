"""PostgreSQL through psycopg 3: sessions that notice a lost server, and its errors in our words.

Transactions are READ COMMITTED: unique keys, not isolation levels, keep what must be unique.
Errors are told apart by SQLSTATE (PostgreSQL's documentation, appendix A). A connection that
fails has none (https://www.postgresql.org/docs/current/libpq-connect.html), so those are told
apart by their text, and one that is not known counts as a server that cannot be reached.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from orch_db.errors import (
    ConflictError,
    DatabaseError,
    FullError,
    LockedError,
    ReadOnlyError,
    UnreachableError,
)

DRIVER = "postgresql+psycopg"
NAMES = frozenset({"postgres", "postgresql", DRIVER})
SECRETS = ("password", "sslpassword")  # of a URL's query, besides its own password
INSTALL = "pip install 'orch-sweeps[postgresql]'"
SAFE = "what was recorded before is safe"
# Without these a network that drops packets silently would be noticed after two hours.
SESSION = {
    "application_name": "orch",
    "client_encoding": "utf8",
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
ENDING = frozenset({"57P01", "57P02", "57P03", "57P05"})  # the server stops, or ended the session


def open_engine(url: URL, *, write: bool, busy_seconds: float) -> Engine:
    """Open a database for writing or for reading; nothing is connected yet.

    Raises:
        DatabaseError: psycopg is not installed.
    """
    given = {name: value for name, value in SESSION.items() if name not in url.query}
    try:
        engine = create_engine(
            url, connect_args=given, isolation_level="READ COMMITTED", pool_pre_ping=True
        )
    except ImportError:
        raise DatabaseError("PostgreSQL needs psycopg, which is not installed", INSTALL) from None
    lock_milliseconds = max(1, round(busy_seconds * 1000))  # 0 would wait for ever

    def on_connect(connection: Any, _: Any) -> None:
        connection.execute(f"SET lock_timeout = {lock_milliseconds}")
        if not write:
            connection.execute("SET default_transaction_read_only = on")
        connection.commit()

    event.listen(engine, "connect", on_connect)
    return engine


@dataclass(frozen=True)
class Server:
    """Where a URL leads, with what libpq takes from the environment in place of what it lacks."""

    host: str
    port: str
    user: str
    database: str

    @classmethod
    def of(cls, url: URL) -> Server:
        """The server of a URL; its host is a folder where it is a socket."""
        user = url.username or _query(url, "user") or os.environ.get("PGUSER", "")
        return cls(
            url.host or _query(url, "host") or os.environ.get("PGHOST", ""),
            str(url.port or "") or _query(url, "port") or os.environ.get("PGPORT", "5432"),
            user,
            url.database or _query(url, "dbname") or os.environ.get("PGDATABASE", user),
        )

    def __str__(self) -> str:
        if self.host.startswith("/"):
            return f"PostgreSQL on the socket {self.host}/.s.PGSQL.{self.port}"
        return f"PostgreSQL at {self.host or 'its default socket'}, port {self.port}"

    def options(self, user: bool = True) -> str:
        """The options with which PostgreSQL's own commands find it."""
        words = [f"-h {self.host}"] if self.host else []
        words.append(f"-p {self.port}")
        return " ".join([*words, f"-U {self.user}"] if user and self.user else words)

    def command(self, statement: str) -> str:
        """The command that types a statement into the database."""
        return f'psql {self.options()} -d {self.database} -c "{statement}"'


def name(url: URL) -> str:
    """The database and its server, as messages name them."""
    server = Server.of(url)
    return f"the database {server.database or 'of the user'} of {server}"


def translate(error: DBAPIError, url: URL) -> DatabaseError:
    """What the server or the driver said, in our words, with what is safe."""
    text = str(error.orig).strip().partition("\n")[0]
    state: str | None = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or state in ENDING or (state or "").startswith("08"):
        return _lost(text, Server.of(url))
    if state is None and isinstance(error, OperationalError):
        return _refused(text, Server.of(url))
    return _by_state(state or "", text, url)


def _lost(text: str, server: Server) -> DatabaseError:
    return UnreachableError(
        f"the connection to {server} was lost ({text}); {SAFE}",
        f"pg_isready {server.options(user=False)}",
    )


def _refused(text: str, server: Server) -> DatabaseError:
    """Why no connection was made; what does not pass by itself is no UnreachableError."""
    said = text.rpartition("failed: ")[2].removeprefix("FATAL:").strip()
    if "database" in said and "does not exist" in said:
        return DatabaseError(
            f"there is no database {server.database} on {server}",
            f"createdb {server.options(user=False)} --owner {server.user} {server.database}",
        )
    if "role" in said and "does not exist" in said:
        return DatabaseError(
            f"{server} knows no user {server.user}",
            f"createuser {server.options(user=False)} --pwprompt {server.user}",
        )
    if "authentication failed" in text or "no password supplied" in said:
        return DatabaseError(
            f"{server} does not let the user {server.user} in: {said}",
            "set the password in ORCH_DATABASE_URL, PGPASSWORD or ~/.pgpass",
        )
    if "pg_hba.conf" in said or "not permitted" in said or "permission denied" in said:
        return DatabaseError(
            f"{server} does not let the user {server.user} in: {said}",
            "ask its administrator for the right to connect",
        )
    return UnreachableError(
        f"{server} cannot be reached: {said}; {SAFE}",
        f"pg_isready {server.options(user=False)}",
    )


def _by_state(state: str, text: str, url: URL) -> DatabaseError:
    server, where = Server.of(url), name(url)
    if state == "53100":
        return FullError(
            f"{where} has no space left: {text}; {SAFE}",
            "free some space on its server, then run the same again",
        )
    if state == "25006":
        return ReadOnlyError(
            f"{where} may only be read: {text}; {SAFE}", "connect to its primary server"
        )
    if state == "42501":
        return ReadOnlyError(
            f"{where}: {text} (user {server.user}); {SAFE}",
            f"as its owner: {server.command(f'GRANT ALL ON SCHEMA public TO {server.user}')}",
        )
    if state == "55P03":
        return LockedError(
            f"{where} is locked by another session; {SAFE}",
            server.command("SELECT pid, state, query FROM pg_stat_activity"),
        )
    if state in ("40001", "40P01"):
        return ConflictError(f"{where}: {text}; {SAFE}", "run the same again")
    return DatabaseError(f"{where}: {text}; {SAFE}")


def _query(url: URL, key: str) -> str:
    """A value of the URL's query; several hosts or ports stand with commas."""
    value = url.query.get(key, "")
    return value if isinstance(value, str) else ",".join(value)
