"""KerasTuner: a hypermodel and a grid, in one process with all cores, its usual way to run."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import keras  # noqa: E402
import keras_tuner  # noqa: E402
import network  # noqa: E402
import workload  # noqa: E402


def main() -> None:
    wanted, trials = workload.read(sys.argv[1])

    def build(hp: keras_tuner.HyperParameters) -> keras.Model:
        depth = hp.Choice("depth", sorted({depth for depth, _ in trials}), ordered=False)
        rate = hp.Choice("rate", sorted({rate for _, rate in trials}), ordered=False)
        return network.build(wanted["data"], wanted["size"], depth, rate, wanted["seed"])

    x, y, vx, vy = network.load(wanted["data"])
    with tempfile.TemporaryDirectory() as scratch:
        tuner = keras_tuner.GridSearch(
            build, objective="val_accuracy", max_trials=len(trials), directory=scratch
        )
        tuner.search(
            x,
            y,
            batch_size=wanted["batch"],
            epochs=wanted["epochs"],
            validation_data=(vx, vy),
            verbose=0,
        )
        best = {
            workload.key(
                each.hyperparameters.values["depth"], each.hyperparameters.values["rate"]
            ): each.score
            for each in tuner.oracle.trials.values()
        }
    Path(sys.argv[2]).write_text(json.dumps(best))


if __name__ == "__main__":
    main()
