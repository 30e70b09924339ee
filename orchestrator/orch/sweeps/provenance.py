"""What a sweep ran with: versions of programs, libraries and plugins, the machine, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from orch import __version__, catalog, registry
from orch.home import Home
from orch.planning.spec import SweepSpec

RECORDED = ("keras", "tensorflow", "jax", "torch", "numpy", "ray", "optuna", "sqlalchemy")


def versions(spec: SweepSpec, home: Home) -> dict[str, str]:
    """What this sweep runs with: orch, Python, libraries, plugins, machine."""
    found = {"orch": __version__, "python": platform.python_version()}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["backend"] = os.environ.get("KERAS_BACKEND", "tensorflow")
    found["dataset"] = catalog.brought_by(home, spec.dataset)
    found["strategy"] = registry.version(registry.STRATEGIES, spec.strategy)
    found["backbone"] = registry.version(registry.BACKBONES, spec.backbone)
    found["machine"] = f"{platform.system()} {platform.machine()} {os.cpu_count()} cores"
    return found


def git_commit() -> str | None:
    """The commit of the working folder's repository, if there is one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
