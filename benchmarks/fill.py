"""Filling the store with features of VGG16, against bare `model.predict` on decoded images.

    python benchmarks/fill.py --data FOLDER

`predict` is given the whole array in memory and its best batch size of those tried. orch decodes
nothing here either: its examples are in the store. It writes, flushes and checksums what it
computes. The two take turns; the ratio is that of each pair of runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from workload import machine, table

from orch import catalog, installing
from orch.contracts import Head, ImageInput, Optimizer, Plan, Stage
from orch.home import Home
from orch.testing import silent
from orch.training import backbones, cuts, eviction, examples, features, models
from orch.training.warm import NetworkShape
from orch.training.workbench import Workbench
from orch.trials import Objective, TrialSpec

BATCHES = (16, 32, 64, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        home = Home(Path(name))
        home.create()
        installing.install(home, "cats-vs-dogs", options.data / "cats_vs_dogs.tar", silent)
        backbones.add_weights(home, "vgg16", options.data / "vgg16_notop.weights.h5")
        _compare(home, options)


def _compare(home: Home, options: argparse.Namespace) -> None:
    bench = Workbench(home)
    stage = Stage(19, Optimizer(), epochs=1, batch_size=32)
    plan = Plan(ImageInput((options.size, options.size)), Head(pooling="flatten"), (stage,))
    spec = _spec(home, options.images)
    network = bench.network(NetworkShape("vgg16", plan.image.size, spec.weights_digest))
    facts = backbones.describe(home, "vgg16")
    reader = features.Reader(spec, bench, plan, network, facts)
    splits = bench.splits(spec.dataset, spec.dataset_options, spec.dataset_digest)
    chosen = examples.select(splits, spec.limit)[0]
    pixels = np.array(features.finished(reader.read(chosen, cuts.Cut.none("examples"))).inputs)
    rows = [["cut", "images/s predict", "at batch", "images/s orch", "orch ÷ predict (median)"]]
    for depth in (15, 19):
        cut = cuts.choose(facts, depth)
        model = models.between(network, "vgg16", plan, 0, cut)
        batch = min(BATCHES, key=lambda each: _predict(model, pixels, each))
        pairs = [
            (_predict(model, pixels, batch), _fill(home, reader, chosen, cut))
            for _ in range(options.pairs)
        ]
        of_predict = len(pixels) / statistics.median(bare for bare, _ in pairs)
        of_orch = len(pixels) / statistics.median(ours for _, ours in pairs)
        ratio = statistics.median(bare / ours for bare, ours in pairs)
        rows.append([cut.name, f"{of_predict:.1f}", str(batch), f"{of_orch:.1f}", f"{ratio:.3f}"])
    print(f"\n{len(pixels)} images of {options.size}×{options.size}, {options.pairs} pairs")
    print(f"{machine()}\n\n{table(rows)}")


def _predict(model: keras.Model, pixels: Any, batch: int) -> float:
    model.predict(pixels[: batch + len(pixels) % batch], batch_size=batch, verbose=0)  # trace
    started = time.monotonic()
    model.predict(pixels, batch_size=batch, verbose=0)
    return time.monotonic() - started


def _fill(home: Home, reader: features.Reader, chosen: examples.Selection, cut: cuts.Cut) -> float:
    reader.bench.store.release()
    for each in eviction.stored(home.store):
        if not each.title.startswith("examples"):
            shutil.rmtree(each.place)
    started = time.monotonic()
    features.finished(reader.read(chosen, cut))
    return time.monotonic() - started


def _spec(home: Home, images: int) -> TrialSpec:
    installed, weights = catalog.find(home, "cats-vs-dogs"), backbones.find_weights(home, "vgg16")
    assert installed is not None
    assert weights is not None
    return TrialSpec(
        sweep="bench",
        number=0,
        dataset="cats-vs-dogs",
        dataset_options={},
        dataset_digest=installed.digest,
        limit=images,
        backbone="vgg16",
        weights_digest=weights.digest,
        strategy="feature-extraction",
        params={},
        objective=Objective(),
        seed=0,
        keep=False,
    )


if __name__ == "__main__":
    main()
