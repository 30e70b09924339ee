"""What every arm of a comparison runs: the same trials on the same real images.

Peers are given decoded images in one array file, which spares them decoding; orch decodes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BLOCKS = {15: "block4", 19: "block5"}  # frozen_layers of VGG16, and what is frozen up to


@dataclass(frozen=True)
class Workload:
    """A fixed list of trials: every pair of a frozen depth and a learning rate."""

    name: str
    frozen: tuple[int, ...]
    rates: tuple[float, ...]
    epochs: int
    images: int
    size: int
    batch: int = 32
    seed: int = 0
    workers: int = 2

    @property
    def trials(self) -> list[tuple[int, float]]:
        """Frozen depth and learning rate of each trial."""
        return [(depth, rate) for depth in self.frozen for rate in self.rates]

    @property
    def depths(self) -> str:
        """The distribution of frozen depths, in words: every speed-up depends on it."""
        each = len(self.rates)
        return ", ".join(f"{each} frozen up to {BLOCKS[depth]}" for depth in self.frozen)


@dataclass(frozen=True)
class Done:
    """What one arm did: wall seconds, and the best validation accuracy of each trial."""

    arm: str
    seconds: float
    accuracies: Mapping[str, float]


def key(depth: int, rate: float) -> str:
    """The name of a trial, the same in every arm."""
    return f"{depth} {rate:.6g}"


def run_arm(arm: str, script: Path, workload: Workload, folder: Path, images: Path) -> Done:
    """Run one peer in a process of its own; its seconds are from process start to end."""
    wanted, result = folder / f"{arm}.in.json", folder / f"{arm}.out.json"
    wanted.write_text(json.dumps({**asdict(workload), "data": str(images)}))
    started = time.monotonic()
    ran = subprocess.run(
        [sys.executable, str(script), str(wanted), str(result)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if ran.returncode:
        raise SystemExit(f"{arm} failed:\n{ran.stdout[-4000:]}")
    return Done(arm, time.monotonic() - started, json.loads(result.read_text()))


def read(path: str) -> tuple[dict[str, Any], list[tuple[int, float]]]:
    """In a peer's process: what was asked for, and its trials."""
    wanted = json.loads(Path(path).read_text())
    return wanted, [(depth, rate) for depth in wanted["frozen"] for rate in wanted["rates"]]


def flops(workload: Workload, train: int, validation: int) -> tuple[float, float]:
    """FLOPs of the list when every epoch runs the whole network, and when each frozen prefix
    runs once (a multiplication and an addition count as two; a layer that trains costs three
    times its forward pass; heads are left out).
    """
    costs = _vgg16_costs(workload.size)
    naive = cached = 0.0
    filled: set[int] = set()
    for depth, _ in workload.trials:
        prefix, tail = sum(costs[:depth]), sum(costs[depth:])
        trained = workload.epochs * (3 * train + validation) * tail
        naive += workload.epochs * (train + validation) * prefix + trained
        cached += trained
        filled.add(depth)
    cached += (train + validation) * sum(costs[: max(filled)])
    return naive, cached


def _vgg16_costs(size: int) -> list[float]:
    """Forward FLOPs of an image in each of the 19 layers of VGG16's convolution base."""
    plan = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]
    costs, channels = [0.0], 3
    for filters, convolutions in plan:
        for _ in range(convolutions):
            costs.append(2.0 * 9 * channels * filters * size * size)
            channels = filters
        costs.append(0.0)
        size //= 2
    return costs


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of which names the columns, as a Markdown table."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |" for r in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def machine() -> str:
    """What the figures were measured with."""
    import os
    import platform
    from importlib.metadata import version

    names = ("keras", "tensorflow", "ray", "keras-tuner", "optuna")
    return (
        f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )
