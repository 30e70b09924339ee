"""PostgreSQL alone: what it says when it refuses, and what survives when it is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from lossy_network import lossy_network
from orch_db_rows import epoch, sweep, trial
from sqlalchemy import make_url, text

from orch_db import connect, postgresql, schema
from orch_db.errors import (
    ConflictError,
    DatabaseError,
    FullError,
    LockedError,
    NotADatabaseError,
    ReadOnlyError,
    SchemaError,
    UnreachableError,
)
from orch_db.queries import Queries
from orch_db.store import Store
from orch_db.tables import Base

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from postgresql_server import Server

OPENERS: dict[str, Callable[[str], object]] = {"write": Store.open, "read": Queries.open}
BOTH = pytest.mark.parametrize("open_it", OPENERS.values(), ids=OPENERS)


@pytest.fixture
def name(postgresql: str) -> str:
    return str(make_url(postgresql).database)


@pytest.fixture
def ready(postgresql: str) -> str:
    """A database with one sweep."""
    with closing(Store.open(postgresql)) as store:
        store.add_sweep(sweep())
    return postgresql


@pytest.fixture
def visitor(postgresql_server: Server, name: str) -> Iterator[str]:
    """A user who may connect and nothing else."""
    user = f"visitor_{name}"
    postgresql_server.execute(f"CREATE USER {user} PASSWORD 'v'")
    yield user
    postgresql_server.execute(f"DROP OWNED BY {user}", name)
    postgresql_server.execute(f"DROP USER {user}")


# ── sessions ────────────────────────────────────────────────────────────────────────────────


def test_a_session_is_named_and_bounded(ready: str) -> None:
    engine = connect.open_engine(ready, write=True, busy_seconds=3)
    with engine.connect() as connection:
        shown = {
            setting: connection.execute(text(f"SHOW {setting}")).scalar()
            for setting in ("application_name", "lock_timeout", "transaction_isolation")
        }
    engine.dispose()
    assert shown == {
        "application_name": "orch",
        "lock_timeout": "3s",
        "transaction_isolation": "read committed",
    }


def test_a_reader_cannot_write(ready: str) -> None:
    engine = connect.open_engine(ready, write=False)
    with pytest.raises(ReadOnlyError, match="may only be read") as caught:
        with connect.translated(engine), engine.begin() as connection:
            connection.execute(text("DELETE FROM sweeps"))
    engine.dispose()
    assert "primary" in caught.value.hint
    with closing(Queries.open(ready)) as queries:
        assert len(queries.sweeps()) == 1


def test_what_the_url_says_comes_first(ready: str) -> None:
    engine = connect.open_engine(f"{ready}&application_name=mine", write=True)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW application_name")).scalar() == "mine"
    engine.dispose()


@pytest.mark.parametrize("scheme", sorted(postgresql.NAMES))
def test_every_name_of_the_scheme_is_taken(ready: str, scheme: str) -> None:
    with closing(Queries.open(ready.replace("postgresql", scheme, 1))) as queries:
        assert queries.product().startswith("PostgreSQL ")
        assert [each.id for each in queries.sweeps()] == ["s1"]


def test_migrations_make_exactly_the_tables(ready: str) -> None:
    engine = connect.open_engine(ready, write=True)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


# ── what is not ours, and other versions ────────────────────────────────────────────────────


@BOTH
def test_a_database_of_something_else_is_not_touched(
    postgresql_server: Server, postgresql: str, name: str, open_it: Callable[[str], object]
) -> None:
    postgresql_server.execute("CREATE TABLE dogs (name TEXT)", name)
    with pytest.raises(NotADatabaseError, match=r"something else \(dogs\); it was not") as caught:
        open_it(postgresql)
    assert f"the database {name} of PostgreSQL on the socket" in caught.value.message
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert postgresql_server.execute(tables, name) == [("dogs",)]


@BOTH
@pytest.mark.parametrize(
    ("version", "words", "hint"),
    [("0000", "has schema 0000", "orch db upgrade"), ("9999", "newer than this orch", "install")],
)
def test_another_schema_is_refused(
    postgresql_server: Server,
    ready: str,
    name: str,
    open_it: Callable[[str], object],
    version: str,
    words: str,
    hint: str,
) -> None:
    postgresql_server.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{version}'", name)
    with pytest.raises(SchemaError, match=words) as caught:
        open_it(ready)
    assert hint in caught.value.hint


def test_an_earlier_schema_is_upgraded_with_its_rows(
    postgresql_server: Server, postgresql: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect.open_engine(postgresql, write=True)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "HEAD", "0001")
        schema.upgrade(engine)
    postgresql_server.execute(
        "INSERT INTO sweeps (id, name, state, dataset, strategy, backbone, metric, direction,"
        " board, spec, versions, created_at)"
        " VALUES ('one', '', '', '', '', '', '', '', '', '{}', '{}', '')",
        name,
    )
    kept: list[Path] = []
    assert schema.upgrade(engine, kept.append) == ("0001", schema.HEAD)
    engine.dispose()
    assert kept == []
    with closing(Queries.open(postgresql)) as queries:
        assert [each.id for each in queries.sweeps()] == ["one"]


# ── when the server refuses ─────────────────────────────────────────────────────────────────


def test_a_missing_driver_is_said_with_what_installs_it() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from orch_db.errors import DatabaseError\n"
        "from orch_db.store import Store\n"
        "try: Store.open('postgresql://me:secret@host/db')\n"
        "except DatabaseError as error: print(error.message, '|', error.hint)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == (
        "PostgreSQL needs psycopg, which is not installed | pip install 'orch-sweeps[postgresql]'\n"
    )


def test_who_may_not_write_is_said(ready: str, postgresql_server: Server, visitor: str) -> None:
    url = postgresql_server.url(str(make_url(ready).database), visitor, "v")
    with pytest.raises(ReadOnlyError, match=f"permission denied .*user {visitor}") as caught:
        Store.open(url)
    assert f"TO {visitor}" in caught.value.hint


def test_who_may_not_create_tables_is_said(
    postgresql: str, name: str, postgresql_server: Server, visitor: str
) -> None:
    with pytest.raises(ReadOnlyError, match="permission denied for schema public") as caught:
        Store.open(postgresql_server.url(name, visitor, "v"))
    assert "GRANT ALL ON SCHEMA public" in caught.value.hint
    assert "'v'" not in caught.value.message + caught.value.hint


def test_a_lock_is_waited_for_and_said(ready: str) -> None:
    other = connect.open_engine(ready, write=True)
    with closing(Store.open(ready, busy_seconds=0.1)) as store:
        with other.begin() as connection:
            connection.execute(text("LOCK TABLE sweeps"))
            began = time.monotonic()
            with pytest.raises(LockedError, match="locked by another session") as caught:
                store.add_sweep(sweep("s2"))
            assert time.monotonic() - began < 5
        assert "pg_stat_activity" in caught.value.hint
        store.add_sweep(sweep("s2"))
    other.dispose()


def test_who_may_not_connect_is_said(postgresql_server: Server, name: str, visitor: str) -> None:
    postgresql_server.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    with pytest.raises(DatabaseError, match=f"{visitor} in: permission denied") as caught:
        Queries.open(postgresql_server.url(name, visitor, "v"))
    assert "administrator" in caught.value.hint


def test_a_password_that_is_not_given_is_said(postgresql_server: Server, name: str) -> None:
    url = f"postgresql://orch@/{name}?host={postgresql_server.socket}"
    with pytest.raises(DatabaseError, match="no password supplied") as caught:
        Queries.open(url)
    assert "PGPASSWORD" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "kind", "hint"),
    [
        ('FATAL:  role "me" does not exist', DatabaseError, "createuser -h host -p 5432"),
        ('FATAL:  no pg_hba.conf entry for host "1"', DatabaseError, "administrator"),
        ("FATAL:  the database system is starting up", UnreachableError, "pg_isready -h host"),
        ("FATAL:  sorry, too many clients already", UnreachableError, "pg_isready -h host"),
        ("Connection timed out\n\tIs the server", UnreachableError, "pg_isready -h host"),
    ],
)
def test_refused_connections_are_told_apart_by_their_words(
    words: str, kind: type, hint: str
) -> None:
    import psycopg
    from sqlalchemy.exc import OperationalError

    text = f'connection failed: connection to server at "host", port 5432 failed: {words}'
    error = OperationalError(None, None, psycopg.OperationalError(text))
    found = postgresql.translate(error, connect.parse_url("postgresql://me:secret@host/db"))
    assert type(found) is kind
    assert found.hint.startswith(hint) or hint in found.hint
    assert "secret" not in found.message + found.hint


class Refusal(Exception):
    """What psycopg raises, with the SQLSTATE of a fault that no test can bring about."""

    def __init__(self, sqlstate: str, words: str) -> None:
        super().__init__(words)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("53100", FullError, "has no space left"),
        ("40001", ConflictError, "could not"),
        ("57P01", UnreachableError, "was lost"),
        ("08006", UnreachableError, "was lost"),
        ("XX000", DatabaseError, "could not"),
    ],
)
def test_errors_are_told_apart_by_their_state(state: str, kind: type, words: str) -> None:
    from sqlalchemy.exc import DBAPIError

    url = connect.parse_url("postgresql://me:secret@host:6543/trials")
    error = DBAPIError("INSERT", None, Refusal(state, "could not\nmore"))
    found = postgresql.translate(error, url)
    assert type(found) is kind
    assert words in found.message
    assert "PostgreSQL at host, port 6543" in found.message
    assert "what was recorded before is safe" in found.message
    assert "\n" not in found.message
    assert "secret" not in found.message + found.hint


@pytest.fixture
def small_tablespace(postgresql_server: Server, ready: str, name: str) -> Iterator[None]:
    """The table of sweeps lies on a disk of 4 MiB."""
    place = postgresql_server.folder / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        place.rmdir()
        pytest.skip("no small disk can be mounted")
    postgresql_server.own(place)
    postgresql_server.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
    postgresql_server.execute("ALTER TABLE sweeps SET TABLESPACE small", name)
    yield
    postgresql_server.execute("ALTER TABLE sweeps SET TABLESPACE pg_default", name)
    postgresql_server.execute("DROP TABLESPACE small")
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.usefixtures("small_tablespace")
def test_a_full_disk_is_said_and_keeps_what_was_recorded(ready: str) -> None:
    kept = ["s1"]

    def fill() -> None:
        for number in range(2, 500):
            store.add_sweep(sweep(f"s{number}", spec={"text": os.urandom(20_000).hex()}))
            kept.append(f"s{number}")

    with closing(Store.open(ready)) as store:
        with pytest.raises(FullError, match="no space left") as caught:
            fill()
    assert "free some space" in caught.value.hint
    with closing(Queries.open(ready)) as queries:
        assert sorted(each.id for each in queries.sweeps()) == sorted(kept)


# ── when it is lost ─────────────────────────────────────────────────────────────────────────


def test_sessions_that_are_ended_between_writes_are_opened_again(
    postgresql_server: Server, ready: str, name: str
) -> None:
    with closing(Store.open(ready)) as store, closing(Queries.open(ready)) as queries:
        store.add_trial(trial())
        for number in range(1, 6):
            assert postgresql_server.end_sessions(name) >= 1
            store.add_epoch(epoch(number), "node")
            assert len(queries.epochs("t1")) == number


def test_an_action_in_doubt_is_sent_again(postgresql_server: Server, ready: str, name: str) -> None:
    """The session ends after the statements and before the commit: nothing was recorded yet."""
    with closing(Store.open(ready)) as store:
        sent: list[int] = []

        def action(connection: Any) -> str:
            connection.execute(text("UPDATE sweeps SET state = state || '!'"))
            sent.append(1)
            if len(sent) == 1:
                postgresql_server.end_sessions(name)
            return "done"

        assert store._write(action) == "done"
        assert len(sent) == 2
    with closing(Queries.open(ready)) as queries:
        assert [each.state for each in queries.sweeps()] == ["queued!"]


IN_DOUBT: dict[str, Callable[[Store], object]] = {
    "add_trial": lambda store: store.add_trial(trial("t9", number=9)),
    "add_epoch": lambda store: store.add_epoch(epoch(), "node"),
    "begin": lambda store: store.begin(trial(), "then"),
    "end": lambda store: store.end(trial(), state="completed", score=0.5),
    "again": lambda store: store.again(trial(), failure_kind="lost"),
    "take": lambda store: store.take("s1", "me", 60),
}


@pytest.mark.parametrize("write", IN_DOUBT.values(), ids=IN_DOUBT)
def test_a_commit_whose_answer_is_lost_counts_once(
    postgresql_server: Server, ready: str, name: str, write: Callable[[Store], object]
) -> None:
    """The server did commit, and the client cannot know: the same is sent again."""
    everything = (
        "SELECT s.holder, t::text, a::text, e::text FROM sweeps s JOIN trials t ON true "
        "LEFT JOIN attempts a ON true LEFT JOIN epochs e ON true ORDER BY 1, 2, 3, 4"
    )
    with closing(Store.open(ready)) as store:
        store.add_trial(trial())
        if write is not IN_DOUBT["begin"]:
            store.begin(trial(), "then")
    with lossy_network(postgresql_server.socket) as network:
        address = f"@127.0.0.1:{network.port}/{name}?sslmode=disable&gssencmode=disable"
        with closing(Store.open(f"{ready.partition('@')[0]}{address}")) as store:
            before = postgresql_server.execute(everything, name)
            network.lose_answer()
            answer = write(store)
            assert network.lost == 1
            once = postgresql_server.execute(everything, name)
            assert once != before
            assert write(store) == answer
            assert postgresql_server.execute(everything, name) == once


def test_a_deadlock_is_resolved_by_sending_again(ready: str) -> None:
    with closing(Store.open(ready)) as one, closing(Store.open(ready)) as other:
        one.add_sweep(sweep("s2"))
        both = threading.Barrier(2, timeout=30)
        met: list[str] = []

        def write(store: Store, first: str, second: str) -> None:
            def action(connection: Any) -> None:
                add = "UPDATE sweeps SET name = name || '+' WHERE id = "
                connection.execute(text(f"{add}'{first}'"))
                if first not in met:
                    met.append(first)
                    both.wait()
                connection.execute(text(f"{add}'{second}'"))

            store._write(action)

        threads = [
            threading.Thread(target=write, args=(one, "s1", "s2")),
            threading.Thread(target=write, args=(other, "s2", "s1")),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    with closing(Queries.open(ready)) as queries:
        assert [each.name for each in queries.sweeps()] == ["digits-fine-tune++"] * 2


def test_a_server_that_stays_away_is_given_up(postgresql_server: Server, ready: str) -> None:
    with closing(Store.open(ready, retry_seconds=1)) as store:
        postgresql_server.stop()
        try:
            began = time.monotonic()
            with pytest.raises(UnreachableError, match=r"cannot be reached|was lost") as caught:
                store.add_sweep(sweep("s2"))
            assert 0.2 < time.monotonic() - began < 20
            assert caught.value.hint == f"pg_isready -h {postgresql_server.socket} -p 5432"
        finally:
            postgresql_server.start()
        store.add_sweep(sweep("s2"))


def test_a_restart_in_the_middle_of_writes_loses_and_doubles_nothing(
    postgresql_server: Server, ready: str
) -> None:
    acknowledged: list[int] = []
    failed: list[BaseException] = []
    enough = threading.Event()

    def write() -> None:
        try:
            number = 0
            while not enough.is_set():
                number += 1
                store.add_epoch(epoch(number), f"node-{number}")
                acknowledged.append(number)
        except BaseException as error:
            failed.append(error)

    with closing(Store.open(ready)) as store, closing(Queries.open(ready)) as queries:
        store.add_trial(trial())
        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(3):
            before = len(acknowledged)
            while len(acknowledged) < before + 20 and writer.is_alive():
                time.sleep(0.01)
            postgresql_server.stop()
            postgresql_server.start()
        enough.set()
        writer.join(90)
        assert failed == []
        assert not writer.is_alive()
        assert [each.epoch for each in queries.epochs("t1")] == acknowledged
    assert len(acknowledged) > 60


# ── many at once ────────────────────────────────────────────────────────────────────────────

TRIALS, EPOCHS = 50, 3
WRITER = """
import sys
sys.path.insert(0, sys.argv[3])
from orch_db_rows import epoch, sweep, trial
from orch_db.store import Store
import alembic.command, alembic.config
print("ready", flush=True); sys.stdin.readline()
id = sys.argv[2]
store = Store.open(sys.argv[1], busy_seconds=60)
store.add_sweep(sweep(id))
for number in range(int(sys.argv[4])):
    store.add_trial(trial(f"{id}-{number}", sweep_id=id, number=number, state="running"))
    for at in range(1, int(sys.argv[5]) + 1):
        store.add_epoch(epoch(at, trial_id=f"{id}-{number}"), id)
    assert store.end(trial(f"{id}-{number}", sweep_id=id), state="completed", score=0.5)
store.close(); print("done")
"""


@pytest.mark.slow
def test_many_processes_that_write_at_once_lose_nothing(any_database: str) -> None:
    """They are also the first at once: one of them creates the tables."""
    count = 8 if any_database.startswith("sqlite") else 16
    rows, sizes = str(Path(__file__).parent.parent), [str(TRIALS), str(EPOCHS)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, any_database, f"s{number}", rows, *sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=300) for process in processes] == [("done\n", "")] * count
    with closing(Queries.open(any_database)) as queries:
        sweeps = queries.sweeps()
        assert {each.id: each.trials for each in sweeps} == {
            f"s{number}": {"completed": TRIALS} for number in range(count)
        }
        for each in queries.trials("s1"):
            assert [report.epoch for report in queries.epochs(each.id)] == [1, 2, 3]


# ── through the command line ────────────────────────────────────────────────────────────────


def said(ran: Any, *words: str) -> None:
    """The command ended with exit code 5 and one error line that holds these words."""
    assert ran.code == 5, ran.err
    assert ran.err.count("error: ") == 1, ran.err
    for word in words:
        assert word in ran.err, f"{word!r} is not in {ran.err!r}"
    assert "Traceback" not in ran.err


COMMANDS = [("leaderboard",), ("db", "upgrade"), ("db", "check")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_wrong_password(orch, monkeypatch, postgresql_server: Server, name: str, words) -> None:
    url = postgresql_server.url(name, password="not-the-password")
    monkeypatch.setenv("ORCH_DATABASE_URL", url)
    ran = orch(*words)
    said(ran, "does not let the user orch in: password authentication failed", "~/.pgpass")
    assert "not-the-password" not in ran.err + ran.out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_missing_database(orch, monkeypatch, postgresql_server: Server, words) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", postgresql_server.url("absent"))
    where = f"-h {postgresql_server.socket} -p 5432 --owner orch"
    said(orch(*words), "there is no database absent on", f"try: createdb {where} absent")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_server_that_is_down(orch, monkeypatch, tmp_path: Path, words) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", f"postgresql://me:secret@/db?host={tmp_path}")
    ran = orch(*words)
    said(ran, f"{tmp_path}/.s.PGSQL.5432 cannot be reached: No such file", "is safe")
    assert f"try: pg_isready -h {tmp_path} -p 5432" in ran.err
    assert "secret" not in ran.err + ran.out


def test_a_host_that_does_not_answer(orch, monkeypatch) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", "postgresql://me:secret@localhost:1/db")
    ran = orch("leaderboard")
    said(ran, "PostgreSQL at localhost, port 1 cannot be reached: Connection refused")
    assert "pg_isready -h localhost -p 1" in ran.err
    assert "secret" not in ran.err


def test_passwords_are_not_shown(orch, monkeypatch) -> None:
    url = "postgres://me:hushhush@host/db?sslpassword=hushhush&sslmode=require"
    monkeypatch.setenv("ORCH_DATABASE_URL", url)
    ran = orch("db", "path")
    assert ran.out == "postgresql://me:***@host/db?sslmode=require&sslpassword=%2A%2A%2A\n"
    for words in (("config",), ("config", "--json")):
        shown = orch(*words)
        assert "me:***@host" in shown.out
        assert "hushhush" not in shown.out + shown.err
    monkeypatch.setenv("ORCH_DATABASE_URL", "postgresql://me:sec@ret@host/db")
    ran = orch("db", "path")
    said(ran, "more than one @", "%40")
    assert "ret@host" not in ran.err


def test_check_counts_rows_and_finds_orphans(
    orch, monkeypatch, postgresql_server: Server, ready: str, name: str
) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", ready)
    ran = orch("db", "check", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["rows"]["sweeps"] == 1
    assert found["problems"] == []
    assert found["schema"] == schema.HEAD
    assert found["product"].startswith("PostgreSQL ")
    postgresql_server.execute("ALTER TABLE trials DROP CONSTRAINT fk_trials_sweep_id", name)
    with closing(Store.open(ready)) as store:
        store.add_trial(trial(sweep_id="nobody"))
    said(orch("db", "check"), "1 rows of trials belong to no sweeps")


def test_a_backup_is_one_file_that_can_be_restored(
    orch, monkeypatch, postgresql_server: Server, ready: str, tmp_path: Path
) -> None:
    if not shutil.which("pg_dump"):
        pytest.skip("pg_dump is not on PATH: apt install postgresql-client")
    monkeypatch.setenv("ORCH_DATABASE_URL", ready)
    monkeypatch.setenv("PGPASSWORD", "that of another server")
    ran = orch("db", "backup", str(tmp_path / "orch.dump"))
    assert ran.code == 0, ran.err
    assert (tmp_path / "orch.dump").stat().st_mode & 0o777 == 0o600
    with postgresql_server.database() as other:
        postgresql_server.restore(tmp_path / "orch.dump", other)
        with closing(Queries.open(postgresql_server.url(other))) as queries:
            assert [each.id for each in queries.sweeps()] == ["s1"]
    said(orch("db", "backup", str(tmp_path / "orch.dump")), "is there already")


def test_a_backup_without_pg_dump_gives_the_command(
    orch, monkeypatch, ready: str, name: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", ready)
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = orch("db", "backup")
    said(ran, "pg_dump", "not installed here", "pg_dump --format=custom", f"-U orch {name}")
    assert "horse" not in ran.err
    assert list((tmp_path / "home" / "backups").iterdir()) == []


def test_a_backup_that_pg_dump_refuses_leaves_no_file(
    orch, monkeypatch, postgresql_server: Server, tmp_path: Path
) -> None:
    if not shutil.which("pg_dump"):
        pytest.skip("pg_dump is not on PATH: apt install postgresql-client")
    monkeypatch.setenv("ORCH_DATABASE_URL", postgresql_server.url("absent"))
    said(orch("db", "backup", str(tmp_path / "x.dump")), "does not exist", "nothing was written")
    assert [path for path in tmp_path.iterdir() if "x.dump" in path.name] == []


def test_doctor_names_the_server(ready: str) -> None:
    from orch.doctor import _database

    found = _database(ready)
    assert found.good
    assert found.found.startswith("PostgreSQL ")
    assert found.found.endswith(", 1 sweeps")
