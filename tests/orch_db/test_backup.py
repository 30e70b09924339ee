"""SQLite: checking, copying and upgrading a database, through the command line."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from orch_db_rows import epoch, sweep, trial

from orch_db import connect, schema
from orch_db.errors import DatabaseError, FullError, LockedError
from orch_db.queries import Queries
from orch_db.store import Store


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The database that commands use, with one sweep."""
    path = tmp_path / "orch.db"
    monkeypatch.setenv("ORCH_DATABASE_URL", f"sqlite:///{path}")
    with closing(Store.open(f"sqlite:///{path}")) as store:
        store.add_sweep(sweep())
    return path


def said(ran: Any, *words: str) -> None:
    """The command ended with exit code 5 and one error line that holds these words."""
    assert ran.code == 5, ran.err
    assert ran.err.count("error: ") == 1, ran.err
    for word in words:
        assert word in ran.err, f"{word!r} is not in {ran.err!r}"
    assert "Traceback" not in ran.err


def change(path: Path, *statements: str) -> None:
    """Change a database behind our back."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def sweeps_in(path: Path) -> list[str]:
    with closing(Queries.open(f"sqlite:///{path}")) as queries:
        return sorted(each.id for each in queries.sweeps())


# ── orch db check ───────────────────────────────────────────────────────────────────────────


def test_a_whole_database_is_counted(orch, database: Path) -> None:
    ran = orch("db", "check", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["product"] == f"SQLite {sqlite3.sqlite_version}"
    assert (found["schema"], found["problems"]) == (schema.HEAD, [])
    assert (found["rows"]["sweeps"], found["rows"]["trials"]) == (1, 0)
    table = orch("db", "check")
    assert table.code == 0
    assert "sweeps" in table.out
    assert str(database) in table.out


def test_no_database_is_not_wrong(orch, tmp_path: Path) -> None:
    ran = orch("db", "check")
    assert ran.code == 0
    assert "there is no database yet" in ran.err
    assert not (tmp_path / "home").exists()


def test_rows_that_belong_to_nothing_are_found(orch, database: Path) -> None:
    with closing(Store.open(f"sqlite:///{database}")) as store:
        store.add_trial(trial())
        store.add_epoch(epoch(), None)
    change(database, "DELETE FROM sweeps")
    ran = orch("db", "check", "--json")
    said(ran, "1 rows of trials belong to no sweeps", "nothing was changed", "backup")
    assert json.loads(ran.out)["problems"] == ["1 rows of trials belong to no sweeps"]


def test_damage_is_found(orch, database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        page = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_sweeps_dataset'"
        ).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    content = bytearray(database.read_bytes())
    content[(page - 1) * size + 8 : page * size] = bytes(size - 8)
    database.write_bytes(content)
    said(orch("db", "check"), f"not as it should be: On tree page {page}", "restore a backup")
    assert database.read_bytes() == content


@pytest.mark.parametrize("version", ["0000", "9999"])
def test_another_schema_is_found(orch, database: Path, version: str) -> None:
    change(database, f"UPDATE {schema.VERSION_TABLE} SET version_num = '{version}'")
    hint = "orch db upgrade" if version == "0000" else "newer orch"
    said(orch("db", "check"), f"the schema is {version}, this orch needs {schema.HEAD}", hint)


# ── orch db backup ──────────────────────────────────────────────────────────────────────────


def test_a_backup_while_others_write_is_one_instant(orch, database: Path, tmp_path: Path) -> None:
    acknowledged: list[int] = []
    enough = threading.Event()

    def write() -> None:
        while not enough.is_set():
            number = len(acknowledged) + 1
            store.add_epoch(epoch(number), None)
            acknowledged.append(number)

    with closing(Store.open(f"sqlite:///{database}")) as store:
        store.add_trial(trial())
        writer = threading.Thread(target=write)
        writer.start()
        while len(acknowledged) < 20:
            time.sleep(0.005)
        least = len(acknowledged)
        ran = orch("db", "backup", str(tmp_path / "copy.db"))
        most = len(acknowledged) + 1
        enough.set()
        writer.join()
    assert ran.code == 0, ran.err
    assert ran.out == f"{tmp_path / 'copy.db'}\n"
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    with closing(Queries.open(f"sqlite:///{tmp_path / 'copy.db'}")) as queries:
        copied = [each.epoch for each in queries.epochs("t1")]
    assert copied == list(range(1, len(copied) + 1))
    assert least <= len(copied) <= most


def test_a_backup_without_a_name_lies_in_home(orch, database: Path, tmp_path: Path) -> None:
    (one, other) = (orch("db", "backup") for _ in range(2))
    assert one.out != other.out
    made = Path(one.out.strip())
    assert made.parent == tmp_path / "home" / "backups"
    assert sweeps_in(made) == ["s1"]
    assert len(list(made.parent.iterdir())) == 2


def test_a_backup_replaces_nothing(orch, database: Path) -> None:
    before = database.read_bytes()
    said(orch("db", "backup", str(database)), "is there already; nothing was written")
    assert database.read_bytes() == before


def test_there_may_be_nothing_to_copy(orch, tmp_path: Path) -> None:
    said(orch("db", "backup", str(tmp_path / "copy.db")), "there is no database yet")
    assert not (tmp_path / "copy.db").exists()


def test_a_backup_needs_a_folder(orch, database: Path, tmp_path: Path) -> None:
    said(orch("db", "backup", str(tmp_path / "absent" / "copy.db")), "cannot be written: No such")


def test_a_damaged_database_makes_no_backup(orch, database: Path, tmp_path: Path) -> None:
    content = bytearray(database.read_bytes())
    content[100:8192] = b"\xff" * (8192 - 100)
    database.write_bytes(content)
    ran = orch("db", "backup", str(tmp_path / "copy.db"))
    said(ran, str(database))
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == []


def test_a_backup_on_a_full_disk_leaves_no_file(orch, database: Path, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(490 * 1024))
    said(orch("db", "backup", str(small_disk / "copy.db")), "full")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


# ── orch db upgrade ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of the first schema, with one sweep."""
    path = tmp_path / "earlier" / "orch.db"
    path.parent.mkdir()
    make_earlier(path, monkeypatch)
    monkeypatch.setenv("ORCH_DATABASE_URL", f"sqlite:///{path}")
    return path


def make_earlier(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = connect.open_engine(f"sqlite:///{path}", write=True)
    with monkeypatch.context() as patched:
        patched.setattr(schema, "HEAD", "0001")
        schema.upgrade(engine)
    engine.dispose()
    change(
        path,
        "INSERT INTO sweeps (id, name, state, dataset, strategy, backbone, metric, direction,"
        " board, spec, versions, created_at)"
        " VALUES ('one', '', '', '', '', '', '', '', '', '{}', '{}', '')",
    )


def test_an_upgrade_keeps_the_database_as_it_was(orch, earlier: Path) -> None:
    ran = orch("db", "upgrade")
    assert ran.code == 0, ran.err
    (copy,) = earlier.parent.glob("*.backup")
    assert copy.name.startswith("orch.db.schema-0001.2")
    assert f"kept in {copy}" in ran.err
    assert f"from schema 0001 to {schema.HEAD}" in ran.err
    assert sweeps_in(earlier) == ["one"]
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT id FROM sweeps").fetchall() == [("one",)]
        version = connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}")
        assert version.fetchone() == ("0001",)
    again = orch("db", "upgrade")
    assert "already has schema" in again.err
    assert len(list(earlier.parent.glob("*.backup"))) == 1


def test_without_room_for_the_copy_nothing_is_upgraded(
    monkeypatch: pytest.MonkeyPatch, small_disk: Path
) -> None:
    path = small_disk / "orch.db"
    make_earlier(path, monkeypatch)
    (small_disk / "ballast").write_bytes(bytes(400 * 1024))
    engine = connect.open_engine(f"sqlite:///{path}", write=True)
    with pytest.raises(FullError):
        schema.upgrade(engine)
    engine.dispose()
    assert list(small_disk.glob("*.backup*")) == []
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}")
        assert version.fetchone() == ("0001",)


# ── waiting for others ──────────────────────────────────────────────────────────────────────


def test_a_new_file_that_another_writes_to_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself refuses at once here: to switch to the log it first reads."""
    path = tmp_path / "orch.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(sqlite3.connect(path, timeout=5)) as plain:
            began = time.monotonic()
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                plain.execute("PRAGMA journal_mode=WAL")
            assert time.monotonic() - began < 1
        threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
        with closing(Store.open(f"sqlite:///{path}")) as store:
            store.add_sweep(sweep())
    assert sweeps_in(path) == ["s1"]


def test_a_new_file_that_stays_locked_is_said(tmp_path: Path) -> None:
    path = tmp_path / "orch.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockedError, match="locked by another process"):
            Store.open(f"sqlite:///{path}", busy_seconds=0.2)


def test_a_lock_that_outlasts_the_busy_timeout_is_met_again(database: Path) -> None:
    with closing(Store.open(f"sqlite:///{database}", busy_seconds=0.2)) as store:
        with closing(
            sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            threading.Timer(0.4, lambda: other.execute("COMMIT")).start()
            store.add_sweep(sweep("s2"))
    assert sweeps_in(database) == ["s1", "s2"]


# ── what else there is to say ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("oracle://host/db", "of the kind oracle are not supported"),
        ("postgresql+asyncpg://me:secret@host/db", "kind postgresql+asyncpg are not supported"),
        ("postgresql://me:secret@host:port/db", "cannot be understood"),
    ],
)
def test_other_databases_are_refused_in_one_line(orch, monkeypatch, url: str, words: str) -> None:
    monkeypatch.setenv("ORCH_DATABASE_URL", url)
    for command in (("db", "path"), ("config",), ("leaderboard",)):
        ran = orch(*command)
        said(ran, words, "postgresql://user@host/database")
        assert "secret" not in ran.err


def test_an_older_sqlite_is_a_note_and_no_failure(database: Path, monkeypatch) -> None:
    from orch import doctor

    monkeypatch.setattr(doctor.sqlite3, "sqlite_version_info", (3, 40, 1))
    note = doctor._sqlite()
    assert note.good
    assert "3.51.3" in note.advice
    monkeypatch.setattr(doctor.sqlite3, "sqlite_version_info", (3, 51, 3))
    assert doctor._sqlite().advice == ""
    found = doctor._database(f"sqlite:///{database}")
    assert found.found == f"SQLite {sqlite3.sqlite_version}, 1 sweeps"
    assert doctor._database("sqlite:////nowhere/orch.db").found == "none yet"


def test_what_cannot_be_read_is_no_copy(tmp_path: Path) -> None:
    from orch_db import backup

    (tmp_path / "orch.db").write_bytes(b"not a database\n" * 500)
    with pytest.raises(DatabaseError, match="not an SQLite database"):
        backup.write(f"sqlite:///{tmp_path}/orch.db", tmp_path / "copy.db")
