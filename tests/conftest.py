"""Fixtures of the whole suite. Databases, files, Keras and Ray are real; nothing is fetched."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from postgresql_server import Server

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
hypothesis.settings.register_profile("orch", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("orch")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a suite that a shell put aside: "&"
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).parent.parent
REAL_DATA = Path(os.environ.get("ORCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a home of its own and none of the user's settings."""
    for name in [name for name in os.environ if name.startswith("ORCH_")]:
        if name != "ORCH_TEST_DATA":
            monkeypatch.delenv(name)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data in {REAL_DATA}; set ORCH_TEST_DATA")
    return REAL_DATA


@pytest.fixture(scope="session")
def postgresql_server() -> Generator[Server]:
    """A PostgreSQL server for the whole run; tests are skipped where none is installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'psycopg[binary]'")
    from postgresql_server import running

    with running() as server:
        yield server


@pytest.fixture
def postgresql(postgresql_server: Server) -> Generator[str]:
    """The URL of an empty PostgreSQL database of the test's own."""
    with postgresql_server.database() as name:
        yield postgresql_server.url(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database; the test runs on each kind."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql")
    return f"sqlite:///{tmp_path}/orch.db"


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Path]:
    """A disk of 512 KiB, or of the size that a test gives as parameter."""
    place = tmp_path / "small"
    place.mkdir()
    size = getattr(request, "param", "512k")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if not shutil.which("mount"):
        pytest.skip("there is no mount command to make a small disk with")
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture
def orch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a command in this process, as `orch WORDS` would."""
    from orch import cli
    from orch.cli import door

    # The real one points file descriptor 2 at a log file for the rest of the process.
    monkeypatch.setattr(door, "divert_native_stderr", lambda home: None)

    def run(*words: str) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = cli.run(list(words))
        return Ran(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def orch_script() -> str:
    """The installed `orch` script of this environment."""
    return str(Path(sys.executable).parent / "orch")
