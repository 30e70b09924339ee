"""The house: directions of imports, sizes, and what `orch --help` may load."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
    "targets"
]["wheel"]["packages"]
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
HEAVY = (
    *("ray", "keras", "tensorflow", "sqlalchemy", "alembic", "optuna", "pandas", "numpy"),
    *("matplotlib", "plotext", "scipy", "sklearn", "soundfile", "PIL", "psycopg"),
)


def imported(*words: str) -> set[str]:
    """The top-level modules that a command imports, by `python -X importtime`."""
    code = f"import sys; sys.argv = ['orch', *{words!r}]; from orch.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


@pytest.mark.parametrize("words", [("--help",), ("sweep", "--help"), ("--version",)])
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    modules = imported(*words)
    assert "typer" in modules
    assert modules.isdisjoint(HEAVY), modules.intersection(HEAVY)


def test_listing_loads_neither_ray_nor_keras() -> None:
    modules = imported("leaderboard")
    assert modules.isdisjoint({"ray", "keras", "tensorflow", "optuna", "alembic", "psycopg"})


def test_imports_go_one_way() -> None:
    tool = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_wheel_holds_one_package_of_each_root() -> None:
    for package in PACKAGES:
        root, name = package.split("/")
        assert (ROOT / package / "__init__.py").is_file()
        assert (ROOT / package / "py.typed").is_file()
        assert not (ROOT / root / "__init__.py").exists()
        assert name == "orch" or name.startswith("orch_")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 60, f"{node.name} is too long"


def test_names_say_what_things_are() -> None:
    banned = {"utils", "util", "base", "manager", "helpers", "common", "misc"}
    assert not [path for path in SOURCES if path.stem in banned]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_error_is_caught_unnamed_or_dropped(path: Path) -> None:
    """What may be dropped is named in `contextlib.suppress`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            assert not all(map(says_nothing, node.body)), f"line {node.lineno}: it does nothing"


def says_nothing(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or constant


@pytest.mark.parametrize(
    ("body", "nothing"), [("pass", True), ("...", True), ("continue", False), ("raise", False)]
)
def test_what_does_nothing_is_told_apart(body: str, nothing: bool) -> None:
    (loop,) = ast.parse(f"while True:\n    {body}").body
    assert isinstance(loop, ast.While)
    assert says_nothing(loop.body[0]) == nothing
