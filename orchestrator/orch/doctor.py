"""Looks a machine over: versions, GPUs, disk, database, data. Imports nothing heavy."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from orch import __version__, catalog, probing, registry
from orch.contracts import DatasetFacts
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


def examine(home: Home, database_url: str, patience: float) -> list[Finding]:
    """Look at everything a sweep needs; a plugin has `patience` seconds to say what it is."""
    return [
        Finding("orch", f"{__version__}, Python {platform.python_version()}"),
        *(_library(name) for name in LIBRARIES),
        _backend(),
        Finding("cores", f"{os.cpu_count()}, {_memory()} memory"),
        _gpus(),
        _disk(home),
        _sqlite(),
        _database(database_url),
        *_plugins(home, patience),
        _weights(home, patience),
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


def _plugins(home: Home, patience: float) -> Iterator[Finding]:
    """The data of every dataset that can be used, and the plugins of any kind that are blocked."""
    datasets = probing.datasets(home, patience)
    others = (probing.strategies(home, patience), probing.backbones(home, patience))
    for state in (*datasets.blocked, *(state for each in others for state in each.blocked)):
        what = "data" if state.plugin.group == registry.DATASETS else state.plugin.kind
        found = f"the plugin {state.name} of {state.plugin.origin} is blocked: {state.why}"
        yield Finding(f"{what} {state.name}", found, False, f"orch plugins check {state.name}")
    for facts in datasets.facts.values():
        yield _dataset(home, facts)
    for name in catalog.own_names(home):
        yield _own(home, name)


def _own(home: Home, name: str) -> Finding:
    try:
        return _dataset(home, catalog.load(home, name).facts)
    except OrchError as error:
        return Finding(f"data {name}", error.message, False, error.hint)


def _dataset(home: Home, facts: DatasetFacts) -> Finding:
    name = facts.name
    try:
        installed = catalog.find(home, name)
    except OrchError as error:
        return Finding(f"data {name}", error.message, False, error.hint)
    if installed is None:
        how = "embedded" if facts.embedded else f"not here yet: orch datasets add {name}"
        return Finding(f"data {name}", how)
    return Finding(f"data {name}", f"{sum(installed.examples.values())} examples")


def _weights(home: Home, patience: float) -> Finding:
    known = probing.backbones(home, patience).facts
    there = [known[name] for name in backbones.names() if name in known]
    try:
        present = [each.name for each in there if backbones.weights_of(home, each)]
    except OrchError as error:
        return Finding("weights", error.message, False, error.hint)
    return Finding("weights", ", ".join(present))
