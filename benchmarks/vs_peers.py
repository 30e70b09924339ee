"""One list of trials, five ways: plain Ray Tune, KerasTuner, orch without store, cold and warm.

    python benchmarks/vs_peers.py --data FOLDER --workload head --json result.json

FOLDER holds cats_vs_dogs.tar and vgg16_notop.weights.h5 (see docs/performance.md).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import workload
from workload import Done, Workload

HERE = Path(__file__).parent
RATES = tuple(10 ** (-5 + step / 4) for step in range(12))
WORKLOADS = {
    "head": Workload("head", (19,), RATES, epochs=5, images=500, size=64),
    "blocks": Workload("blocks", (15, 19), RATES[2:10:2], epochs=3, images=400, size=64),
}
ARMS = ("ray-tune", "keras-tuner", "orch-off", "orch-cold", "orch-warm")


def main() -> None:
    options = _options()
    wanted = WORKLOADS[options.workload]
    wanted = replace(
        wanted, images=options.images or wanted.images, epochs=options.epochs or wanted.epochs
    )
    if options.rates:
        wanted = replace(
            wanted, rates=tuple(10 ** (-5 + 3 * n / options.rates) for n in range(options.rates))
        )
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        images, counts = _prepare(folder, options.data, wanted)
        done = [_run(arm, wanted, folder, images) for arm in options.arms]
    naive, cached = workload.flops(wanted, *counts)
    print(f"""
{len(wanted.trials)} trials ({wanted.depths}), {wanted.epochs} epochs, batch {wanted.batch},
{counts[0]} + {counts[1]} images of {wanted.size}×{wanted.size}, VGG16, {wanted.workers} workers
{workload.machine()}
FLOP bound: {naive / cached:.1f}× ({naive / 1e12:.1f} against {cached / 1e12:.1f} TFLOP)
""")
    print(_report(done))
    if options.json:
        found = {
            "workload": asdict(wanted),
            "machine": workload.machine(),
            "bound": naive / cached,
            "flops": {"naive": naive, "cached": cached},
            "arms": [asdict(each) for each in done],
        }
        Path(options.json).write_text(json.dumps(found, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--workload", choices=WORKLOADS, default="head")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--images", type=int, help="train and validation together")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rates", type=int, help="so many learning rates, evenly spread")
    parser.add_argument("--json")
    return parser.parse_args()


def _prepare(folder: Path, data: Path, wanted: Workload) -> tuple[Path, tuple[int, int]]:
    """Install the images for orch, and decode the same ones for the peers; not timed."""
    home = folder / "home"
    _orch(home, "datasets", "add", "cats-vs-dogs", "--from", str(data / "cats_vs_dogs.tar"))
    _orch(home, "backbones", "add", "vgg16", "--from", str(data / "vgg16_notop.weights.h5"))
    _orch(home, "backbones", "show", "vgg16")  # lists its layers, once for each backbone
    shutil.copy(data / "vgg16_notop.weights.h5", folder / "vgg16.weights.h5")
    images = folder / "images.npz"
    subprocess.run(
        [
            sys.executable,
            str(HERE / "decode.py"),
            str(home),
            str(images),
            str(wanted.images),
            str(wanted.size),
        ],
        check=True,
    )
    import numpy as np

    found = np.load(images)
    return images, (len(found["train_y"]), len(found["validation_y"]))


def _run(arm: str, wanted: Workload, folder: Path, images: Path) -> Done:
    print(f"{time.strftime('%H:%M:%S')} {arm} …", file=sys.stderr, flush=True)
    if arm == "ray-tune":
        done = workload.run_arm(arm, HERE / "peers" / "with_ray_tune.py", wanted, folder, images)
    elif arm == "keras-tuner":
        done = workload.run_arm(arm, HERE / "peers" / "with_keras_tuner.py", wanted, folder, images)
    else:
        done = _run_orch(arm, wanted, folder / "home")
    print(f"         {done.seconds:.1f} s", file=sys.stderr, flush=True)
    return done


def _run_orch(arm: str, wanted: Workload, home: Path) -> Done:
    if arm == "orch-cold":
        shutil.rmtree(home / "store", ignore_errors=True)
    words = ["sweep", "cats-vs-dogs", "--strategy", "fine-tune", "--limit", str(wanted.images)]
    words += ["--trials", str(len(wanted.trials)), "--concurrent", str(wanted.workers)]
    words += ["--sampler", "grid", "--pruner", "none", "--seed", str(wanted.seed), "--keep", "0"]
    space = {
        "frozen_layers": f"choice({','.join(map(str, wanted.frozen))})",
        "learning_rate": f"choice({','.join(map(str, wanted.rates))})",
        "epochs": wanted.epochs,
        "batch_size": wanted.batch,
        "image_size": wanted.size,
        "pooling": "average",
        "head_units": 0,
        "dropout": 0,
        "output": "softmax",
        "optimizer": "adam",
        "start": "zeros",
    }
    for name, value in space.items():
        words += ["-S", f"{name}={value}"]
    started = time.monotonic()
    found = json.loads(_orch(home, *words, "--json", features=arm != "orch-off"))
    seconds = time.monotonic() - started
    best = {
        workload.key(each["params"]["frozen_layers"], each["params"]["learning_rate"]): each[
            "score"
        ]
        for each in found["trials"]
    }
    return Done(arm, seconds, best)


def _orch(home: Path, *words: str, features: bool = True) -> str:
    script = Path(sys.executable).parent / "orch"
    environment = {**os.environ, "ORCH_HOME": str(home), "ORCH_STORE_FEATURES": str(int(features))}
    done = subprocess.run([str(script), *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"orch {' '.join(words)}\n{done.stderr}")
    return done.stdout


def _report(done: list[Done]) -> str:
    """Seconds, ratio to the first arm, best accuracy, and the differences trial by trial."""
    rows = [
        ["arm", "seconds", f"{done[0].arm} ÷ it", "best val. accuracy", "mean |Δ|", "largest |Δ|"]
    ]
    for each in done:
        apart = [abs(each.accuracies[k] - done[0].accuracies[k]) for k in done[0].accuracies]
        rows.append(
            [
                each.arm,
                f"{each.seconds:.1f}",
                f"{done[0].seconds / each.seconds:.1f}×",
                f"{max(each.accuracies.values()):.4f}",
                f"{sum(apart) / len(apart):.4f}",
                f"{max(apart):.4f}",
            ]
        )
    return workload.table(rows)


if __name__ == "__main__":
    main()
