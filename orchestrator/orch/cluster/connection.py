"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import ray

from orch.cluster import reaper
from orch.cluster.slots import WORKER_MEMORY, available_cores
from orch.errors import ClusterError

KNOCK_SECONDS = 5.0
PARTING_SECONDS = 1.0  # for processes that were told to end
LOGS_KEPT = 5  # sessions
CONFIGURATION = {
    # Ray would start a Python process per core, and then others for the trials.
    "enable_worker_prestart": False,
    "prestart_worker_first_driver": False,
    # What waits for a head that is gone gives up after so many seconds; 60 as Ray comes.
    "gcs_rpc_server_reconnect_timeout_s": 15,
}
OBJECT_STORE_BYTES = 128 * 2**20  # arrays travel as files, so Ray's own store can be small


@dataclass(frozen=True)
class Resources:
    """What a cluster has: cores, GPUs, and memory in bytes."""

    cpus: int
    gpus: float
    memory: int


@contextmanager
def connecting(address: str, logs: Path) -> Generator[Callable[[], Resources]]:
    """Begin to join the cluster at `address`, or to start one here on loopback.

    What it yields waits until that is done, and raises ClusterError where it cannot be.
    """
    others = set(_children())
    with (
        _reaper() as watched,
        ThreadPoolExecutor(1, thread_name_prefix="ray") as background,
    ):
        started = background.submit(_connect, address, watched)
        try:
            yield lambda: started.result()[0]
        finally:
            session = None if started.exception() else started.result()[1]
            ours = [] if address else [each for each in _children() if each not in others]
            ray.shutdown()
            _end(ours)
            if session is not None and not address:
                _keep_logs(session, logs / "ray")


@contextmanager
def _reaper() -> Generator[IO[str]]:
    """A process that outlives this one; it kills the processes written to it once this one ends.

    Ray's own agents would stay for a minute when a driver is killed.
    """
    words = [sys.executable, "-S", "-E", reaper.__file__]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, start_new_session=True, text=True
    ) as process:
        assert process.stdin is not None
        yield process.stdin


def _children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _end(processes: list[psutil.Process]) -> None:
    """Kill what a cluster of ours left: a worker that still imports Keras does not hear of it."""
    _, alive = psutil.wait_procs(processes, timeout=PARTING_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=PARTING_SECONDS)


def _connect(address: str, watched: IO[str]) -> tuple[Resources, Path]:
    """Join or start; returns what there is and the folder of Ray's session."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        options.update(
            address="local",
            num_cpus=available_cores(),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _system_config=CONFIGURATION,
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
    if not address:
        watched.writelines(f"{each.pid} {reaper.began(each.pid)}\n" for each in _children())
        watched.flush()
    found: Mapping[str, float] = ray.cluster_resources()
    memory = int(found.get("memory", WORKER_MEMORY))
    resources = Resources(int(found.get("CPU", 1)), found.get("GPU", 0.0), memory)
    return resources, Path(context.address_info["session_dir"])


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
