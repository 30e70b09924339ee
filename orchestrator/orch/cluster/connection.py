"""Joining a Ray cluster, or starting one on this machine."""

from __future__ import annotations

import os
import shutil
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
from ray._private import worker

from orch.cluster import head, reaper
from orch.cluster.slots import WORKER_MEMORY, available_cores
from orch.errors import ClusterError

PARTING_SECONDS = 1.0  # for processes that were told to end
LOGS_KEPT = 5  # sessions
OWNER = "orch-driver"  # the file in a session's folder that names the process it was made for
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


@dataclass(frozen=True)
class _Joined:
    """A cluster, and the folder of Ray's session."""

    resources: Resources
    session: Path


@contextmanager
def connecting(
    address: str, logs: Path, on_lost: Callable[[ClusterError], None]
) -> Generator[Callable[[], Resources]]:
    """Begin to join the cluster at `address`, or to start one here on loopback.

    What it yields waits until that is done, and raises ClusterError where it cannot be. When the
    head is lost, what was started here is killed and `on_lost` called from a thread of its own:
    Ray ends this process some seconds later, whatever it does.
    """
    others: set[psutil.Process] = set()

    def ours() -> list[psutil.Process]:
        return [] if address else [each for each in _children() if each not in others]

    def lost() -> None:
        _end(ours(), 0.0)
        on_lost(ClusterError(f"{_called(address)} is gone"))

    with (
        _reaper() as orphans,
        ThreadPoolExecutor(1, thread_name_prefix="ray") as background,
    ):
        others.update(_children())
        started = background.submit(_connect, address, orphans)
        try:
            with head.watching(lost) as watch:

                def connected() -> Resources:
                    there = started.result()
                    watch(head.at(address) if address else head.of_processes(_head(ours())))
                    return there.resources

                yield connected
        finally:
            started.exception()
            left = ours()
            ray.shutdown()
            _end(left, PARTING_SECONDS)
            if not address and started.exception() is None:
                session = started.result().session
                _keep_logs(session, logs / "ray")
                _clear_up(session.parent, logs / "ray")


def _head(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if each.name() in ("gcs_server", "raylet")]


def _called(address: str) -> str:
    return f"the Ray cluster at {address}" if address else "Ray"


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


def _end(processes: list[psutil.Process], seconds: float) -> None:
    """Kill what a cluster of ours left: a worker that still imports Keras does not hear of it."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=PARTING_SECONDS)


def _connect(address: str, orphans: IO[str]) -> _Joined:
    """Join or start; what was started here is named to the reaper."""
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
    setattr(worker, "print_to_stdstream", _log)  # noqa: B010  pyright knows no such attribute
    try:
        head.knock(address)
        context: Any = ray.init(**options)
    except (Exception, SystemExit) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ClusterError(
            f"{_called(address)} did not answer ({reason}); nothing was started",
            "check --ray-address, or leave it out to run on this machine"
            if address
            else "orch doctor",
        ) from error
    if not address:
        orphans.writelines(f"{each.pid} {reaper.began(each.pid)}\n" for each in _children())
        orphans.flush()
    found: Mapping[str, float] = ray.cluster_resources()
    memory = int(found.get("memory", WORKER_MEMORY))
    resources = Resources(int(found.get("CPU", 1)), found.get("GPU", 0.0), memory)
    session = Path(context.address_info["session_dir"])
    if not address:
        (session / OWNER).write_text(f"{os.getpid()} {reaper.began(os.getpid())}")
    return _Joined(resources, session)


def _log(data: Mapping[str, Any], ignore_prefix: bool) -> None:
    """Write what Ray says of its workers where errors of native code go.

    Ray itself prints it on standard output, which is for results.
    """
    os.write(2, "".join(f"{line}\n" for line in data["lines"]).encode())


def _keep_logs(session: Path, kept: Path) -> None:
    """Move the logs of a finished Ray session into home, the newest few of them."""
    with suppress(OSError):
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(kept / session.name, ignore_errors=True)
    if (session / "logs").is_dir():
        with suppress(OSError, shutil.Error):  # a full disk, which others have spoken of
            shutil.move(session / "logs", kept / session.name)
    shutil.rmtree(session, ignore_errors=True)
    for old in sorted(kept.iterdir())[:-LOGS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _clear_up(sessions: Path, kept: Path) -> None:
    """Treat the sessions that killed drivers of ours left as if they had ended."""
    for session in sessions.glob("session_*"):
        with suppress(OSError, ValueError):  # it is none of ours, or goes this very moment
            process, when = (session / OWNER).read_text().split()
            if session.lstat().st_uid == os.getuid() and reaper.began(int(process)) != when:
                _keep_logs(session, kept)
