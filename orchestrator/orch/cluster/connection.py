"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import ray

from orch.cluster.slots import WORKER_MEMORY
from orch.errors import ClusterError

KNOCK_SECONDS = 5.0
OBJECT_STORE_BYTES = 128 * 2**20  # arrays travel as files, so Ray's own store can be small


@contextmanager
def connected(address: str) -> Generator[tuple[int, float, int]]:
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
        ray.init(**options)
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


def _knock(address: str) -> None:
    """Fail at once where nothing listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
