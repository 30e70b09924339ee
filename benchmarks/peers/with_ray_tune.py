"""Plain Ray Tune with a Keras function trainable, as its documentation shows."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])

import ray  # noqa: E402
import workload  # noqa: E402
from ray import tune  # noqa: E402


def train(config: dict) -> None:
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(config["threads"])
    import keras
    import network

    class Report(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            tune.report({"val_accuracy": (logs or {})["val_accuracy"]})

    x, y, vx, vy = network.load(config["data"])
    model = network.build(config["data"], config["size"], *config["trial"], config["seed"])
    model.fit(
        x,
        y,
        batch_size=config["batch"],
        epochs=config["epochs"],
        validation_data=(vx, vy),
        verbose=0,
        callbacks=[Report()],
    )


def main() -> None:
    wanted, trials = workload.read(sys.argv[1])
    cores = os.cpu_count() or 1
    threads = max(1, cores // wanted["workers"])
    ray.init("local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as scratch:
        results = tune.Tuner(
            tune.with_resources(train, {"cpu": threads}),
            param_space={**wanted, "threads": threads, "trial": tune.grid_search(trials)},
            tune_config=tune.TuneConfig(metric="val_accuracy", mode="max"),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        ).fit()
        best = {
            workload.key(*each.config["trial"]): float(each.metrics_dataframe.val_accuracy.max())
            for each in results
        }
    Path(sys.argv[2]).write_text(json.dumps(best))
    ray.shutdown()


if __name__ == "__main__":
    main()
