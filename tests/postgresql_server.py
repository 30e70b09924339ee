"""A PostgreSQL server of the tests' own: one folder, one socket, no network, gone at the end."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

PASSWORD = "correct horse@battery/staple"
PR_SET_PDEATHSIG = 1  # of prctl(2): a killed test run takes its server along


def find(program: str) -> Path:
    """One of PostgreSQL's programs; the test is skipped where it is not installed."""
    on_path = shutil.which(program)
    if on_path and program not in ("postgres", "initdb", "pg_ctl"):
        return Path(on_path)
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)
    found = [Path(on_path)] if on_path else newest
    if not found:
        pytest.skip(
            f"{program} is on no PATH and not in /usr/lib/postgresql: apt install postgresql"
        )
    return found[0]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Server:
    """A server that runs as a user that is not root, as it must."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder

    def url(self, database: str, user: str = "orch", password: str = PASSWORD) -> str:
        secret = quote(password, safe="")
        return f"postgresql://{user}:{secret}@/{database}?host={quote(str(self.socket))}"

    def create(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        self.own(secret)
        self._run(
            find("initdb"),
            *("--username=orch", f"--pwfile={secret}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C", f"--pgdata={self.folder / 'data'}"),
        )

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with (self.folder / "log").open("ab") as log:
            data, socket = self.folder / "data", self.socket
            self.process = subprocess.Popen(
                [find("postgres"), "-D", data, "-k", socket, "-c", "listen_addresses="],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=_die_with_parent,
                **_unprivileged(),
            )
        ready = ["-h", str(self.socket), "-t", "1"]
        for _ in range(600):
            if subprocess.run([find("pg_isready"), *ready], capture_output=True).returncode == 0:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End it as a power cut would: `pg_ctl stop -m immediate`."""
        self._run(find("pg_ctl"), "stop", "-m", "immediate", "-w", "-D", self.folder / "data")
        if self.process is not None:
            self.process.wait(timeout=30)

    def kill(self) -> None:
        """End it whatever happened before."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement as the administrator, in a transaction of its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Generator[str]:
        """A database of its own; yields its name."""
        name = f"test_{os.urandom(6).hex()}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            if self.process is None or self.process.poll() is not None:
                self.start()
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def end_sessions(self, database: str) -> int:
        """End every session of a database, as an administrator may; says how many."""
        return len(
            self.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{database}'"
            )
        )

    def restore(self, dump: Path, database: str) -> None:
        """Put a dump into an empty database, as docs/database.md says."""
        subprocess.run(
            [find("pg_restore"), "-h", self.socket, "-U", "orch", "-d", database, dump],
            env={**os.environ, "PGPASSWORD": PASSWORD},
            check=True,
        )

    def _run(self, *words: object) -> None:
        subprocess.run(
            [str(word) for word in words],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **_unprivileged(),
        )

    def own(self, path: Path) -> None:
        """Give a file or folder to the user that the server runs as."""
        if os.getuid() == 0:
            user = _user()
            os.chown(path, user.pw_uid, user.pw_gid)


def _user() -> pwd.struct_passwd:
    names = {each.pw_name for each in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _unprivileged() -> dict[str, Any]:
    """For subprocess: another user where we are root, which PostgreSQL refuses to run as."""
    if os.getuid() != 0:
        return {}
    return {"user": _user().pw_uid, "group": _user().pw_gid, "extra_groups": []}


@contextmanager
def running() -> Generator[Server]:
    """A server in a new folder, whose name is short as sockets need it."""
    find("initdb")
    folder = Path(tempfile.mkdtemp(prefix="orch-pg-", dir="/tmp"))
    server = Server(folder)
    try:
        server.own(folder)
        server.create()
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
