"""Figures of the service as Prometheus reads them; read from the database when asked for."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from orch.service.state import Service
from orch.training import eviction

MEDIA_TYPE = CONTENT_TYPE_LATEST
RECENT = 1  # fires of each schedule that lateness is told of


class _Figures:
    """Collects them for one request."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """All figures."""
        queries = self._service.queries
        trials = GaugeMetricFamily("orch_trials", "Trials by state.", labels=["state"])
        for state, count in sorted(queries.trials_by_state().items()):
            trials.add_metric([state], count)
        yield trials
        jobs = GaugeMetricFamily("orch_jobs", "Sweeps of the queue by state.", labels=["state"])
        there = queries.jobs_by_state()
        for state in ("queued", "running", "ended"):
            jobs.add_metric([state], there.get(state, 0))
        yield jobs
        yield from self._schedules()
        yield from self._store()
        yield from _gpus()

    def _schedules(self) -> Iterator[Metric]:
        late = GaugeMetricFamily(
            "orch_fire_late_seconds", "How late the last fire was.", labels=["schedule"]
        )
        for schedule in self._service.queries.schedules():
            for fire in self._service.queries.fires(schedule.id, RECENT):
                late.add_metric([schedule.name], fire.late_seconds)
        yield late

    def _store(self) -> Iterator[Metric]:
        folder = self._service.home.store
        stored = eviction.stored(folder) if folder.is_dir() else []
        yield GaugeMetricFamily(
            "orch_store_bytes", "What the store holds.", sum(each.bytes for each in stored)
        )
        yield CounterMetricFamily(
            "orch_store_hits", "Times a stored array was used.", sum(each.hits for each in stored)
        )


def _gpus() -> Iterator[Metric]:
    """Use of each GPU, where the driver's own tool tells."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return
    words = [tool, "--query-gpu=index,utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return
    use = GaugeMetricFamily("orch_gpu_use_ratio", "Share of time a GPU works.", labels=["gpu"])
    memory = GaugeMetricFamily("orch_gpu_memory_bytes", "Memory of a GPU in use.", labels=["gpu"])
    for line in done.stdout.splitlines():
        index, percent, mebibytes = (part.strip() for part in line.split(","))
        use.add_metric([index], float(percent) / 100)
        memory.add_metric([index], float(mebibytes) * 2**20)
    yield from (use, memory)


def text(service: Service) -> str:
    """All figures, in the text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(service))
    return generate_latest(registry).decode()
