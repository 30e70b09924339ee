"""The files that run the service elsewhere. No image is built: that takes a daemon and minutes."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from orch import __version__
from orch.settings import Settings

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
OWN_PATHS = ("/opt/orch", "/src")  # of the builder stage


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile and the stage that it is of."""

    stage: int
    word: str
    rest: str


def _dockerfile() -> list[Instruction]:
    lines = [
        line
        for line in (DOCKER / "Dockerfile").read_text().splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found: list[Instruction] = []
    stage = -1
    for line in joined.splitlines():
        word, _, rest = line.partition(" ")
        stage += word == "FROM"
        found.append(Instruction(stage, word, rest.strip()))
    return found


INSTRUCTIONS = _dockerfile()
LAST = INSTRUCTIONS[-1].stage


def of(word: str, stage: int | None = None) -> list[str]:
    """What follows a word, in one stage or all."""
    return [
        each.rest
        for each in INSTRUCTIONS
        if each.word == word and (stage is None or each.stage == stage)
    ]


# ── the image ───────────────────────────────────────────────────────────────────────────────


def test_the_image_is_built_in_two_stages_of_a_fixed_python() -> None:
    assert of("FROM") == ["python:3.12-slim AS builder", "python:3.12-slim"]
    (copied,) = of("COPY", LAST)
    assert copied == "--from=builder /opt/orch /opt/orch"


def test_nothing_is_fetched_from_an_address_or_a_moving_tag() -> None:
    assert not of("ADD")
    for base in of("FROM"):
        image = base.split()[0]
        assert ":" in image
        assert not image.endswith(":latest")
    for line in of("RUN"):
        assert not re.search(r"https?://|curl|wget|index-url|trusted-host", line)


def test_the_image_runs_as_a_user_that_is_not_root() -> None:
    assert of("USER", LAST) == ["orch"]
    after = [each.word for each in INSTRUCTIONS if each.stage == LAST]
    assert "RUN" not in after[after.index("USER") :]
    assert "useradd --uid 10001" in of("RUN", LAST)[0]


def test_the_image_asks_whether_it_is_ready_and_python_does_the_asking() -> None:
    (check,) = of("HEALTHCHECK", LAST)
    words = json.loads(check.partition("CMD ")[2])
    assert words[:2] == ["python", "-c"]
    compile(words[2], "healthcheck", "exec")
    assert "/readyz" in words[2]
    environment = " ".join(of("ENV", LAST))
    port = re.search(r"ORCH_PORT=(\d+)", environment)
    assert port is not None
    assert of("EXPOSE", LAST) == [port[1]]
    assert int(port[1]) == Settings().port


@pytest.mark.parametrize("source", [line.split()[:-1] for line in of("COPY", 0)], ids=str)
def test_what_is_copied_is_there_and_not_ignored(source: list[str]) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    for name in source:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


def test_nothing_else_of_the_repository_reaches_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = {name for line in of("COPY", 0) for name in line.split()[:-1]}
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_every_package_of_the_wheel_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = {name.rstrip("/") for line in of("COPY", 0) for name in line.split()[:-1]}
    assert {each.split("/")[0] for each in packages} <= copied


@pytest.mark.slow
def test_the_steps_of_the_builder_install_a_command_that_runs(tmp_path: Path) -> None:
    """Run each RUN line of the builder stage, in its order, among nothing but what COPY brings.

    It is run with this Python, not the image's, in a folder in place of /opt/orch and /src, and
    with --no-deps: the requirements are those of the environment that runs this test, which
    `make test` installs with the same constraints. What is proved is that the steps work and
    that what they copy is enough to build and run orch; not that an image is small or starts.
    """
    venv, source = tmp_path / "venv", tmp_path / "src"
    source.mkdir()
    for instruction in (each for each in INSTRUCTIONS if each.stage == 0):
        if instruction.word == "COPY":
            _copy(instruction.rest, source)
        elif instruction.word == "RUN":
            _run(instruction.rest, venv, source)
    (site,) = venv.glob("lib/python*/site-packages")
    assert (site / "orch" / "service" / "api" / "app.py").is_file()
    assert (site / "orch_db" / "migrations" / "versions").is_dir()
    requirements = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    (site / "requirements.pth").write_text(f"{requirements}\n")
    said = _said(venv / "bin" / "orch", "--version")
    assert __version__ in said
    where = "import orch.service.serve as it; print(it.__file__)"
    assert _said(venv / "bin" / "python", "-c", where).startswith(str(site))


def _copy(words: str, source: Path) -> None:
    *names, target = words.split()
    for name in names:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(ROOT / name, source / target, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / target)


def _run(line: str, venv: Path, source: Path) -> None:
    here = {"/opt/orch": str(venv), "/src": str(source)}
    words = shlex.split(re.sub("|".join(OWN_PATHS), lambda found: here[found[0]], line))
    if words[0] == "python":
        words[0] = sys.executable
    if any(word.startswith(".") for word in words):
        words.append("--no-deps")
    done = subprocess.run(words, cwd=source, env=_environment(), capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def _said(*words: object) -> str:
    done = subprocess.run(
        [str(word) for word in words], env=_environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


# ── together with PostgreSQL and Ray ────────────────────────────────────────────────────────

COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
EXAMPLE = dict(
    line.split("=", 1)
    for line in (DOCKER / ".env.example").read_text().splitlines()
    if line and not line.startswith("#")
)


def test_compose_runs_a_database_a_ray_head_and_the_service() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"database", "ray", "service"}
    assert services["database"]["image"] == "postgres:16"
    assert services["ray"]["build"] == {"context": "..", "dockerfile": "docker/Dockerfile"}
    assert services["service"]["image"] == services["ray"]["image"]
    assert "--head" in services["ray"]["command"]
    waits = {name: each["condition"] for name, each in services["service"]["depends_on"].items()}
    assert waits == {"database": "service_healthy", "ray": "service_healthy"}


def test_whatever_compose_waits_for_says_whether_it_is_healthy() -> None:
    for name in COMPOSE["services"]["service"]["depends_on"]:
        check = COMPOSE["services"][name]["healthcheck"]
        assert check["test"][0] == "CMD"
        assert check["interval"]
        assert check["timeout"]
    assert of("HEALTHCHECK", LAST)  # the service's own is the image's


def test_volumes_are_declared_and_none_is_a_folder_of_the_host() -> None:
    mounted = {
        volume.split(":")[0] for each in COMPOSE["services"].values() for volume in each["volumes"]
    }
    assert mounted == set(COMPOSE["volumes"])
    assert "database:/var/lib/postgresql/data" in COMPOSE["services"]["database"]["volumes"]


def test_no_secret_is_in_compose_or_its_example() -> None:
    said = {
        name: value
        for each in COMPOSE["services"].values()
        for name, value in each.get("environment", {}).items()
    }
    wanted = {name for name in said if not name.startswith("POSTGRES_") or "PASSWORD" in name}
    for name in wanted:
        assert said[name].startswith(f"${{{name}:?"), f"{name} must come from .env"
    assert wanted == set(EXAMPLE)
    assert EXAMPLE["POSTGRES_PASSWORD"] == EXAMPLE["ORCH_TOKEN"] == ""
    assert re.fullmatch(r"postgresql://orch:@database/orch", EXAMPLE["ORCH_DATABASE_URL"])


def test_the_file_with_secrets_stays_out_of_the_repository_and_the_image() -> None:
    assert "/docker/.env" in (ROOT / ".gitignore").read_text().splitlines()
    assert not (ROOT / ".dockerignore").read_text().count("!docker")


def test_only_this_machine_reaches_what_compose_publishes() -> None:
    ports = [port for each in COMPOSE["services"].values() for port in each.get("ports", [])]
    assert ports == [f"127.0.0.1:{Settings().port}:{Settings().port}"]


# ── systemd ─────────────────────────────────────────────────────────────────────────────────


def _unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    parser.read(DOCKER / "orch.service")
    return parser


def test_the_unit_lets_running_sweeps_outlive_a_restart() -> None:
    service = _unit()["Service"]
    assert service["KillMode"] == "process"
    assert service["Restart"] == "on-failure"
    assert "PrivateTmp" not in service  # it would delete what Ray's sessions need
    assert service["ExecStart"] == "/opt/orch/bin/orch serve"


def test_the_unit_gives_away_no_more_than_it_must() -> None:
    service = _unit()["Service"]
    assert service["User"] == service["Group"] == "orch"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service["StateDirectoryMode"] == "0700"
    assert service["Environment"] == f"ORCH_HOME=/var/lib/{service['StateDirectory']}"
    assert not [name for name in service if name == "Environment" and "TOKEN" in service[name]]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """With a program that is there in place of the one that is installed with it."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed: it comes with systemd")
    unit = tmp_path / "orch.service"
    text = (DOCKER / "orch.service").read_text()
    unit.write_text(text.replace("/opt/orch/bin/orch", shutil.which("true") or "/bin/true"))
    done = subprocess.run([tool, "verify", unit], capture_output=True, text=True)
    own = [line for line in done.stderr.splitlines() if "orch.service" in line]
    assert done.returncode == 0, done.stderr
    assert not own
