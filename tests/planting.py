"""Distributions that are installed for a test: a module and its metadata on `sys.path`."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orch import registry
from orch.registry import DATASETS, STRATEGIES

GOOD_DATASET = """
from pathlib import Path

import numpy as np

from orch.contracts import Choice, DatasetFacts, Option, Recipe, Source
from orch.errors import DataError


class Rows:
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def image(self, index):
        return self.images[index]


class Plugin:
    api = 1
    facts = DatasetFacts(
        name="NAME",
        title="Noise",
        classes=("first", "second"),
        image_size=(32, 32),
        licence="CC0-1.0",
        homepage="https://example.org",
        backbone="vgg-mini",
        embedded=True,
        source=None,
        options=(),
        recipes=(),
    )

    def install(self, folder, source, progress):
        random = np.random.default_rng(0)
        for split, count in {"train": 12, "test": 6}.items():
            images = random.integers(0, 256, (count, 4, 5, 3), np.uint8)
            np.save(folder / f"{split}-images.npy", images)
            np.save(folder / f"{split}-labels.npy", np.arange(count) % 2)

    def open(self, folder):
        found = {}
        for split in ("train", "test"):
            images = np.load(folder / f"{split}-images.npy")
            labels = np.load(folder / f"{split}-labels.npy")
            found[split] = Rows(images, labels)
        return found

    def read(self, path):
        raise DataError(f"{path} is no noise")
"""

GOOD_STRATEGY = """
import numpy as np

from orch.contracts import (
    Choice, Head, ImageInput, Int, Log, Optimizer, Parameter, Plan, Stage, StrategyFacts, Uniform
)


class Plugin:
    api = 1
    facts = StrategyFacts("NAME", "train a head")

    def parameters(self, problem):
        return (
            Parameter("learning_rate", Log(1e-4, 1e-2), 1e-3, Log(1e-9, 1.0), "step size"),
            Parameter("epochs", Int(1, 4), 2, Int(1, 100), "passes over the examples"),
        )

    def plan(self, params, problem):
        optimizer = Optimizer("adam", params["learning_rate"])
        frozen = len(problem.backbone.layers)
        stage = Stage(frozen, optimizer, params["epochs"], 32)
        return Plan(ImageInput((32, 32)), Head(), (stage,))
"""

GOOD = {DATASETS: GOOD_DATASET, STRATEGIES: GOOD_STRATEGY}


class Site:
    """A folder on `sys.path`, in which distributions are planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def plant(
        self,
        name: str,
        code: str,
        group: str = DATASETS,
        *,
        module: str | None = None,
        distribution: str | None = None,
        version: str = "1.2",
        target: str = "Plugin",
    ) -> Path:
        """Install a distribution that brings one plugin; the module's file."""
        module = module or f"planted_{name.replace('-', '_')}"
        file = self.folder / f"{module}.py"
        file.write_text(code.replace("NAME", name))
        about = self.folder / f"{(distribution or module)}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution or module}\nVersion: {version}\n"
        )
        (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{target}\n")
        registry.forget()
        return file


def changed(code: str, *changes: tuple[str, str]) -> str:
    """Code with some of it replaced; each must be in it."""
    for old, new in changes:
        assert code.count(old) >= 1, f"{old!r} is not in the code"
        code = code.replace(old, new)
    return code


@contextmanager
def planted_site(folder: Path, patch: pytest.MonkeyPatch) -> Generator[Site]:
    """A site for one test; what it brought is forgotten afterwards."""
    folder.mkdir()
    patch.syspath_prepend(folder)
    registry.forget()
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if name.startswith(("planted_", "orch_tried_")):
            del sys.modules[name]
    patch.undo()
    registry.forget()
