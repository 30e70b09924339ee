"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from orch.cluster.slots import WORKER_MEMORY
from orch.errors import ClusterError

KNOCK_SECONDS = 5.0
LOGS_KEPT = 5  # sessions
OBJECT_STORE_BYTES = 128 * 2**20  # arrays travel as files, so Ray's own store can be small


@contextmanager
def connected(address: str, logs: Path) -> Generator[tuple[int, float, int]]:
    """Join the cluster at `address`, or start one here on loopback; yields cores, GPUs, bytes.

    Raises:
        ClusterError: it cannot be reached or started.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        options.update(
            address="local",
            num_cpus=available_cores(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
        )
    else:
        options["address"] = address
    try:
        _knock(address)
        context: Any = ray.init(**options)
    except (Exception, SystemExit) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = f"the Ray cluster at {address}" if address else "Ray"
        raise ClusterError(
            f"{where} did not answer ({reason}); nothing was started",
            "check --ray-address, or leave it out to run on this machine"
            if address
            else "orch doctor",
        ) from error
    try:
        resources: Mapping[str, float] = ray.cluster_resources()
        memory = int(resources.get("memory", WORKER_MEMORY))
        yield int(resources.get("CPU", 1)), resources.get("GPU", 0.0), memory
    finally:
        ray.shutdown()
        if not address:
            _keep_logs(Path(context.address_info["session_dir"]), logs / "ray")


def _keep_logs(session: Path, kept: Path) -> None:
    """Move the logs of a finished Ray session into home, the newest few of them."""
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(kept / session.name, ignore_errors=True)
    if (session / "logs").is_dir():
        shutil.move(session / "logs", kept / session.name)
    shutil.rmtree(session, ignore_errors=True)
    for old in sorted(kept.iterdir())[:-LOGS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _knock(address: str) -> None:
    """Fail at once where nothing listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
