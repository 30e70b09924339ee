"""Trials that train next to nothing in Ray Tune: its default, or a class with `reuse_actors`.

python trivial_ray_tune.py default|reuse TRIALS
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray import tune


def one_epoch(rate: float) -> float:
    """What orch's trial does: a dense layer on 64 stored features, one epoch, 160 examples."""
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    x, y = rng.random((200, 64), np.float32), rng.integers(0, 10, 200)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, activation="softmax")])
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    logs = model.fit(x[:160], y[:160], validation_data=(x[160:], y[160:]), verbose=0)
    return float(logs.history["val_accuracy"][-1])


def function(config: dict[str, Any]) -> None:
    tune.report({"val_accuracy": one_epoch(config["rate"])})


class Reused(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.rate = config["rate"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.rate = new_config["rate"]
        return True

    def step(self) -> dict[str, Any]:
        return {"val_accuracy": one_epoch(self.rate), "done": True}


def main() -> None:
    reuse, trials = sys.argv[1] == "reuse", int(sys.argv[2])
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as scratch:
        tune.Tuner(
            tune.with_resources(Reused if reuse else function, {"cpu": 1}),
            param_space={"rate": tune.loguniform(1e-4, 1e-1)},
            tune_config=tune.TuneConfig(
                num_samples=trials, metric="val_accuracy", mode="max", reuse_actors=reuse
            ),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        ).fit()
    ray.shutdown()


if __name__ == "__main__":
    main()
