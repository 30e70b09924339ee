"""Looks a machine over: versions, GPUs, disk, database, data. Imports nothing heavy."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from orch import __version__, catalog
from orch.errors import OrchError
from orch.home import Home
from orch.training import backbones

LIBRARIES = ("keras", "ray", "optuna", "sqlalchemy", "numpy")
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
LEAST_FREE = 5 * 10**9  # bytes; frozen blocks 4 and 5 of VGG16 for all of CIFAR-10 take 2
SAFE_SQLITE = (3, 51, 3)  # before it, two checkpointing connections could damage a WAL database


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` says what to do where it is not good."""

    what: str
    found: str
    good: bool = True
    advice: str = ""


def examine(home: Home, database_url: str) -> list[Finding]:
    """Look at everything a sweep needs."""
    return [
        Finding("orch", f"{__version__}, Python {platform.python_version()}"),
        *(_library(name) for name in LIBRARIES),
        _backend(),
        Finding("cores", f"{os.cpu_count()}, {_memory()} memory"),
        _gpus(),
        _disk(home),
        _sqlite(),
        _database(database_url),
        *(_dataset(home, name) for name in catalog.names(home)),
        _weights(home),
    ]


def _library(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", False, f"pip install {name}")


def _backend() -> Finding:
    name = os.environ.get("KERAS_BACKEND", "tensorflow")
    if name not in BACKENDS:
        return Finding("backend", name, False, f"KERAS_BACKEND may be {', '.join(BACKENDS)}")
    found = _library(BACKENDS[name])
    return Finding("backend", f"{name} {found.found}", found.good, found.advice)


def _memory() -> str:
    import psutil

    return f"{psutil.virtual_memory().total / 2**30:.0f} GiB"


def _gpus() -> Finding:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("GPUs", "none (no nvidia-smi); trials share the cores")
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("GPUs", f"nvidia-smi did not answer: {error}", False, "check the driver")
    if done.returncode:
        return Finding("GPUs", "nvidia-smi failed", False, "check the driver: nvidia-smi")
    return Finding("GPUs", "; ".join(line.split(" (UUID")[0] for line in done.stdout.splitlines()))


def _disk(home: Home) -> Finding:
    place = home.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    good = free >= LEAST_FREE and os.access(place, os.W_OK)
    advice = "" if good else "free some space, or choose another folder with ORCH_HOME=FOLDER"
    return Finding("home", f"{home.root}, {free / 10**9:.0f} GB free", good, advice)


def _sqlite() -> Finding:
    """A note, no failure: one sweep at a time has one connection that checkpoints."""
    safe = sqlite3.sqlite_version_info >= SAFE_SQLITE
    advice = "" if safe else "run one sweep at a time on it, or use a Python with SQLite 3.51.3"
    return Finding("SQLite", sqlite3.sqlite_version, advice=advice)


def _database(url: str) -> Finding:
    from orch_db import connect
    from orch_db.errors import DatabaseError
    from orch_db.queries import Queries

    try:
        if not connect.exists(url):
            return Finding("database", "none yet")
        with closing(Queries.open(url)) as queries:
            found = f"{queries.product() or 'empty'}, {len(queries.sweeps())} sweeps"
    except DatabaseError as error:
        return Finding("database", error.message, False, error.hint)
    return Finding("database", found)


def _dataset(home: Home, name: str) -> Finding:
    try:
        installed = catalog.find(home, name)
        facts = catalog.load(home, name).facts
    except OrchError as error:
        return Finding(f"data {name}", error.message, False, error.hint)
    if installed is None:
        how = "embedded" if facts.embedded else f"not here yet: orch datasets add {name}"
        return Finding(f"data {name}", how)
    return Finding(f"data {name}", f"{sum(installed.examples.values())} examples")


def _weights(home: Home) -> Finding:
    try:
        present = [name for name in backbones.names() if backbones.find_weights(home, name)]
    except OrchError as error:
        return Finding("weights", error.message, False, error.hint)
    return Finding("weights", ", ".join(present))
