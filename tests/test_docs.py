"""The documents cover the surface, and what is generated is current."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer.main

from orch import __version__
from orch.cli.app import app
from orch.settings import Settings, variable

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_pages_are_current() -> None:
    script = ROOT / "scripts" / "write_docs.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    for entry in dataclasses.fields(Settings):
        assert f"`{variable(entry.name)}`" in text
        assert entry.metadata["help"] in text


def test_every_verb_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for name in typer.main.get_command(app).commands:  # pyright: ignore
        assert f"orch {name}" in text or name == "db", f"README does not mention orch {name}"


def test_every_option_has_help() -> None:
    def walk(command, path):
        for parameter in command.params:
            assert parameter.help, f"{path}: {parameter.name}"
        for name, child in getattr(command, "commands", {}).items():
            walk(child, f"{path} {name}")

    walk(typer.main.get_command(app), "orch")


def test_every_extension_point_is_documented() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for group in ("orch.datasets", "orch.strategies", "orch.backbones"):
        assert entry_points(group=group)
        assert f"`{group}`" in text


def test_every_module_is_on_the_map() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    package = ROOT / "orchestrator" / "orch"
    packages = ("training", "probing", "checks")
    inner = [path for each in packages for path in (package / each).glob("*.py")]
    for path in [*package.glob("*.py"), *inner]:
        if path.stem not in ("__init__", "testing"):
            assert f"`{path.stem}`" in text, f"{path.stem} is not in docs/architecture.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documents_exist(page: Path) -> None:
    known = typer.main.get_command(app).commands  # pyright: ignore
    for words in re.findall(
        r"(?:^    |`)orch ([a-z]+)(?: ([a-z][a-z-]*))?", page.read_text(), re.M
    ):
        assert words[0] in known, f"{page.name}: orch {words[0]}"
        members = getattr(known[words[0]], "commands", {})
        if words[1] and members:
            assert words[1] in members, f"{page.name}: orch {' '.join(words)}"


def test_the_changelog_has_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_model_card_gives_the_shipped_file() -> None:
    folder = ROOT / "orchestrator" / "orch" / "training" / "weights"
    size = (folder / "vgg-mini.weights.h5").stat().st_size
    assert f"{size:,} bytes" in (folder / "vgg-mini.md").read_text()


def test_every_test_that_reliability_names_exists() -> None:
    rows = re.findall(
        r"^\| .* \| .* \| `(tests/\S+\.py)::(\w+)` \|$",
        (ROOT / "docs" / "reliability.md").read_text(),
        re.M,
    )
    assert len(rows) > 40
    for file, name in rows:
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.M), f"{file}::{name}"
