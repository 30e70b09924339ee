from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from orch_db import connect, schema, sqlite
from orch_db.connect import open_engine
from orch_db.errors import (
    DatabaseError,
    FullError,
    LockedError,
    NotADatabaseError,
    ReadOnlyError,
    SchemaError,
)
from orch_db.queries import Queries
from orch_db.records import SweepRecord
from orch_db.store import Store
from orch_db.tables import Base


def sweep(id: str = "s1", spec: dict[str, Any] | None = None) -> SweepRecord:
    return SweepRecord(
        id=id,
        name="n",
        state="queued",
        dataset="digits",
        strategy="fine-tune",
        backbone="vgg-mini",
        metric="val_accuracy",
        direction="maximize",
        board="b",
        spec=spec or {},
        versions={},
        git_commit=None,
        created_at="2026-01-01T00:00:00+00:00",
    )


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of a test lies, in a folder of its own."""
    (tmp_path / "db").mkdir()
    return tmp_path / "db" / "orch.db"


@pytest.fixture
def ready(path: Path) -> Path:
    """A database with one sweep, closed."""
    with closing(Store.open(url(path))) as store:
        store.add_sweep(sweep())
    return path


def pragma(connection: Any, name: str) -> Any:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


# ── settings that keep rows ─────────────────────────────────────────────────────────────────


def test_a_writer_keeps_what_it_acknowledged(ready: Path) -> None:
    engine = open_engine(url(ready), write=True, busy_seconds=3)
    for _ in range(2):  # whatever connection the pool gives
        with engine.connect() as connection:
            assert pragma(connection, "journal_mode") == "wal"
            assert pragma(connection, "synchronous") == 2  # FULL
            assert pragma(connection, "foreign_keys") == 1
            assert pragma(connection, "busy_timeout") == 3000
        engine.dispose()


def test_a_reader_cannot_write(ready: Path) -> None:
    engine = open_engine(url(ready), write=False)
    with pytest.raises(ReadOnlyError):
        with connect.translated(engine), engine.begin() as connection:
            connection.execute(text("DELETE FROM sweeps"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sweeps")).scalar() == 1
    engine.dispose()


def test_a_writer_takes_the_lock_before_it_reads(ready: Path) -> None:
    one = open_engine(url(ready), write=True)
    other = open_engine(url(ready), write=True, busy_seconds=0.01)
    with one.begin() as connection:
        connection.execute(text("SELECT 1"))
        with pytest.raises(LockedError), connect.translated(other), other.begin():
            pass
    one.dispose()
    other.dispose()


def test_a_reader_reads_while_another_writes(ready: Path) -> None:
    with closing(sqlite3.connect(ready, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE sweeps SET name = 'half'")
        with closing(Queries.open(url(ready))) as queries:
            assert [each.name for each in queries.sweeps()] == [sweep().name]


def test_the_files_are_for_their_owner_only(path: Path) -> None:
    former = os.umask(0)
    try:
        with closing(Store.open(url(path))) as store:
            store.add_sweep(sweep())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(former)
    assert modes == {"orch.db": 0o600, "orch.db-wal": 0o600, "orch.db-shm": 0o600}


def test_a_closed_database_is_one_file(ready: Path) -> None:
    assert list(everything(ready.parent)) == ["orch.db"]


# ── what is not ours ────────────────────────────────────────────────────────────────────────

OPENERS: dict[str, Callable[[str], object]] = {"write": Store.open, "read": Queries.open}
BOTH = pytest.mark.parametrize("open_it", OPENERS.values(), ids=OPENERS)


@BOTH
@pytest.mark.parametrize(
    "content", [b"x", b"not a database\n" * 500, b"SQLite format 2\0" + b"\0" * 99]
)
def test_a_file_that_is_no_database_is_refused_and_unchanged(
    path: Path, open_it: Callable[[str], object], content: bytes
) -> None:
    path.write_bytes(content)
    with pytest.raises(
        NotADatabaseError, match="not an SQLite database; it was not touch"
    ) as caught:
        open_it(url(path))
    assert str(path) in caught.value.message
    assert "ORCH_DATABASE_URL" in caught.value.hint
    assert everything(path.parent) == {"orch.db": content}


def foreign(path: Path, table: str = "CREATE TABLE dogs (name TEXT)") -> None:
    """A database of another program."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(table)
        connection.commit()


@BOTH
def test_a_database_of_something_else_is_refused(
    path: Path, open_it: Callable[[str], object]
) -> None:
    foreign(path)
    with pytest.raises(NotADatabaseError, match=r"something else \(dogs\); it was not") as caught:
        open_it(url(path))
    assert str(path) in caught.value.message
    assert "ORCH_DATABASE_URL" in caught.value.hint


@pytest.mark.parametrize(
    "open_it",
    [
        pytest.param(
            Store.open,
            id="write",
        ),
        pytest.param(Queries.open, id="read"),
    ],
)
def test_a_database_of_something_else_is_unchanged(
    path: Path, open_it: Callable[[str], object]
) -> None:
    foreign(path)
    before = everything(path.parent)
    with pytest.raises(NotADatabaseError):
        open_it(url(path))
    assert everything(path.parent) == before


def test_a_table_of_our_name_does_not_make_it_ours(path: Path) -> None:
    foreign(path, "CREATE TABLE sweeps (id TEXT)")
    with pytest.raises(NotADatabaseError, match=r"something else \(sweeps\)"):
        Store.open(url(path))


@BOTH
def test_a_damaged_database_is_refused(ready: Path, open_it: Callable[[str], object]) -> None:
    content = bytearray(ready.read_bytes())
    content[100:8192] = b"\xff" * (8192 - 100)
    ready.write_bytes(content)
    with pytest.raises(NotADatabaseError, match="malformed") as caught:
        open_it(url(ready))
    assert "backup" in caught.value.hint
    assert ready.read_bytes() == content


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nonsense", "cannot be understood"),
        ("mongo://host/db", "cannot be understood"),
        ("mysql://host/db", "of the kind mysql are not supported"),
    ],
)
def test_a_url_of_no_database_of_ours_is_refused(given: str, words: str) -> None:
    for open_it in OPENERS.values():
        with pytest.raises(DatabaseError, match=words) as caught:
            open_it(given)
        assert "sqlite:////" in caught.value.hint


def test_a_secret_in_a_url_is_not_repeated() -> None:
    with pytest.raises(DatabaseError) as caught:
        Store.open("postgresql://me:secret@host/db")
    assert "secret" not in caught.value.message + caught.value.hint


# ── versions of the schema ──────────────────────────────────────────────────────────────────


@BOTH
@pytest.mark.parametrize(
    ("version", "words", "hint"),
    [
        ("0000", f"has schema 0000, this orch needs {schema.HEAD}", "orch db upgrade"),
        ("9999", f"has schema 9999, newer than this orch \\({schema.HEAD}\\)", "install the newer"),
    ],
)
def test_another_schema_is_refused_with_what_to_do(
    ready: Path, open_it: Callable[[str], object], version: str, words: str, hint: str
) -> None:
    with closing(sqlite3.connect(ready)) as connection:
        connection.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{version}'")
        connection.commit()
    before = ready.read_bytes()
    with pytest.raises(SchemaError, match=words) as caught:
        open_it(url(ready))
    assert "nothing was changed" in caught.value.message
    assert hint in caught.value.hint
    assert ready.read_bytes() == before


def test_upgrading_a_newer_schema_is_refused(ready: Path) -> None:
    with closing(sqlite3.connect(ready)) as connection:
        connection.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = '9999'")
        connection.commit()
    engine = open_engine(url(ready), write=True)
    with pytest.raises(SchemaError, match="newer than this orch"):
        schema.upgrade(engine)
    engine.dispose()


def test_upgrading_says_from_where_to_where(path: Path) -> None:
    engine = open_engine(url(path), write=True)
    assert schema.check(engine) is False
    assert schema.upgrade(engine) == (None, schema.HEAD)
    assert schema.upgrade(engine) == (schema.HEAD, schema.HEAD)
    assert schema.check(engine) is True
    engine.dispose()


EARLIER = [f"{number:04}" for number in range(1, int(schema.HEAD))]


@pytest.mark.parametrize("version", EARLIER)
def test_rows_of_every_earlier_schema_are_there_after_an_upgrade(
    path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(url(path), write=True)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "HEAD", version)
        schema.upgrade(engine)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("sweeps", "trials", "epochs"):
            rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
            values = {name: _sample(kind, name) for _, name, kind, *_ in rows}
            marks = ", ".join("?" for _ in values)
            connection.execute(
                f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})",
                list(values.values()),
            )
        connection.commit()
    with pytest.raises(SchemaError, match=f"has schema {version}"):
        Queries.open(url(path))
    assert schema.upgrade(engine) == (version, schema.HEAD)
    engine.dispose()
    with closing(Queries.open(url(path))) as queries:
        (found,) = queries.sweeps()
        held = "text" if version >= "0003" else None
        assert (found.id, found.parent, found.holder) == ("one", held, held)
        assert found.expected_seconds == (1.0 if version >= "0002" else None)
        (trial,) = queries.trials("one")
        assert trial.score == 1.0
        assert len(queries.epochs(trial.id)) == 1


def _sample(kind: str, name: str) -> object:
    """A value for a column of this type; ids are all the same, so that rows belong together."""
    if name.endswith("id"):
        return "one"
    return {"JSON": "{}", "INTEGER": 1, "DOUBLE": 1.0}.get(kind, "text")


def test_migrations_make_exactly_the_tables(ready: Path) -> None:
    engine = open_engine(url(ready), write=True)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_migrations_name_keys_as_the_tables_do(tmp_path: Path, ready: Path) -> None:
    other = open_engine(url(tmp_path / "other.db"), write=True)
    with other.begin() as connection:
        Base.metadata.create_all(connection)
    other.dispose()
    assert _keys(ready) == _keys(tmp_path / "other.db")


def _keys(path: Path) -> dict[str, set[str]]:
    """The constraints of each table and the indexes, without white space."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != ?",
            (schema.VERSION_TABLE,),
        ).fetchall()
    return {
        name: {
            " ".join(line.strip(" ,").split())
            for line in sql.splitlines()
            if "CONSTRAINT" in line or "INDEX" in line
        }
        for name, sql in rows
    }


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    config = Config()
    config.set_main_option("script_location", "orch_db:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


def test_a_failed_migration_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic.operations import Operations

    made = Operations.create_table

    def create(self: Any, name: str, *columns: Any, **options: Any) -> Any:
        if name == "epochs":
            raise RuntimeError("power cut")
        return made(self, name, *columns, **options)

    monkeypatch.setattr(Operations, "create_table", create)
    with pytest.raises(RuntimeError, match="power cut"):
        Store.open(url(path))
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    Store.open(url(path)).close()


# ── when the database refuses ───────────────────────────────────────────────────────────────


def test_a_locked_database_is_said(ready: Path) -> None:
    with closing(Store.open(url(ready), busy_seconds=0.05)) as store:
        with closing(sqlite3.connect(ready, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LockedError, match="locked by another process") as caught:
                store.add_sweep(sweep("s2"))
            with pytest.raises(LockedError):
                Store.open(url(ready), busy_seconds=0.05)
        assert str(ready) in caught.value.message
        assert "what was recorded before is safe" in caught.value.message
        assert "fuser" in caught.value.hint
        store.add_sweep(sweep("s2"))
    with closing(Queries.open(url(ready))) as queries:
        assert len(queries.sweeps()) == 2


@pytest.fixture
def read_only(ready: Path) -> Iterator[Path]:
    """The database in a folder that anybody may enter and read, and nobody may write to."""
    folder = Path(tempfile.mkdtemp(prefix="orch-test-"))
    shutil.copy(ready, folder / "orch.db")
    (folder / "orch.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder / "orch.db"
    folder.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(path: Path, action: str) -> str:
    """What an action raises in a process that is not root: its class and its message."""
    code = (
        "import os, sys\n"
        "from orch_db.errors import DatabaseError\n"
        "from orch_db.queries import Queries\n"
        "from orch_db.store import Store\n"
        "import alembic.command, alembic.config, sqlite3, sqlalchemy.dialects.sqlite.pysqlite\n"
        "if os.getuid() == 0:\n"
        "    os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try:\n"
        f"    {action}(sys.argv[1])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, url(path)], capture_output=True, text=True)
    assert ran.stderr == ""
    return ran.stdout


def test_a_database_that_cannot_be_written_is_said(read_only: Path) -> None:
    before = everything(read_only.parent)
    said = as_nobody(read_only, "Store.open")
    assert said.startswith(f"ReadOnlyError {read_only} cannot be ")
    assert everything(read_only.parent) == before


def test_a_folder_that_cannot_be_written_is_said(read_only: Path) -> None:
    said = as_nobody(read_only.with_name("new.db"), "Store.open")
    assert said == f"ReadOnlyError {read_only.with_name('new.db')} cannot be opened: " + (
        "Permission denied\n"
    )


@pytest.mark.parametrize("action", ["Store.open", "Queries.open"])
def test_a_folder_that_cannot_be_entered_is_said(read_only: Path, action: str) -> None:
    read_only.parent.chmod(0o000)
    said = as_nobody(read_only, action)
    assert said.startswith("ReadOnlyError ")


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReadOnlyError, match=r"absent/orch\.db cannot be opened: No such") as caught:
        Store.open(url(tmp_path / "absent" / "orch.db"))
    assert "ls -l" in caught.value.hint


def test_a_folder_in_the_place_of_the_database_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReadOnlyError, match="cannot be opened: Is a directory"):
        Store.open(url(tmp_path))


def test_a_full_disk_is_said_and_keeps_what_was_recorded(small_disk: Path) -> None:
    path = small_disk / "orch.db"
    kept: list[str] = []

    def fill() -> None:
        for number in range(100):
            store.add_sweep(sweep(f"s{number}", {"text": "x" * 10_000}))
            kept.append(f"s{number}")

    with closing(Store.open(url(path))) as store:
        with pytest.raises(FullError) as caught:
            fill()
    assert str(path) in caught.value.message
    assert "what was recorded before is safe" in caught.value.message
    assert "free some space" in caught.value.hint
    assert kept
    with closing(Queries.open(url(path))) as queries:
        assert sorted(each.id for each in queries.sweeps()) == sorted(kept)


def test_a_disk_that_is_full_at_first_is_said(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500 * 1024))
    with pytest.raises(FullError) as caught:
        Store.open(url(small_disk / "orch.db"))
    assert "free some space" in caught.value.hint
    ballast.unlink()
    with closing(Store.open(url(small_disk / "orch.db"))) as store:
        store.add_sweep(sweep())


# ── where it lies ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", sorted(sqlite.NETWORK_FILE_SYSTEMS))
def test_a_network_file_system_is_refused_unless_accepted(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sqlite, "_file_system", lambda path: kind)
    with pytest.raises(DatabaseError, match=f"network file system \\({kind}\\)") as caught:
        Store.open(url(path))
    assert "ORCH_ALLOW_NETWORK_FILESYSTEM=1" in caught.value.hint
    assert list(path.parent.iterdir()) == []
    open_engine(url(path), write=True, allow_network=True).dispose()
    assert path.exists()


def test_the_file_system_of_a_mounted_disk_is_its_own(small_disk: Path) -> None:
    assert sqlite._file_system(small_disk / "orch.db") == "tmpfs"
    assert sqlite._file_system(Path("/proc/self")) == "proc"


# ── several processes ───────────────────────────────────────────────────────────────────────


def test_several_processes_may_be_the_first_at_once(path: Path) -> None:
    code = (
        "import sys\n"
        "from orch_db.records import SweepRecord\n"
        "from orch_db.store import Store\n"
        "import alembic.command, alembic.config\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "store = Store.open(sys.argv[1])\n"
        "store.add_sweep(SweepRecord(sys.argv[2], *'nsdtbmdb', {}, {}, None, 'now'))\n"
        "store.close(); print('done')"
    )
    names = ["one", "two", "three"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, url(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60) for process in processes] == [("done\n", "")] * 3
    with closing(Queries.open(url(path))) as queries:
        assert {each.id for each in queries.sweeps()} == set(names)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}").fetchall()
        assert rows == [(schema.HEAD,)]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
