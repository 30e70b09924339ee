"""Pretrain vgg-mini on CIFAR-10's train split and write its weights.

    orch datasets add cifar10            # or --from PATH
    python scripts/pretrain_vgg_mini.py --data "$(orch datasets path cifar10)" --out OUT

The test split is read once, after the last epoch, for the figure in the model card.
Augmentation and schedule follow He et al., "Deep Residual Learning for Image Recognition"
(2015), section 4.2: crops of the image padded by four pixels, left-right flips; the learning
rate falls along a cosine (Loshchilov and Hutter, 2017).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from orch.training import vgg_mini

MOMENTUM = 0.99  # of batch normalisation: an epoch has hundreds of steps here
PAD = 4  # pixels on each side before cropping


def augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip half of the uint8 images (n, height, width, 3) and shift each by up to PAD pixels."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD), (0, 0)), mode="reflect")
    top, left = rng.integers(0, 2 * PAD + 1, (2, count, 1))
    rows = top + np.arange(height)
    columns = left + np.arange(width)
    flip = rng.random(count) < 0.5
    columns[flip] = columns[flip, ::-1]
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def scale(images: np.ndarray) -> np.ndarray:
    """Scale uint8 images to float32 in [-1, 1], as the backbone expects them."""
    return images.astype("float32") / 127.5 - 1.0


def classifier(steps: int, peak: float) -> Any:
    """Put a softmax head on the backbone and compile it for `steps` training steps."""
    base = vgg_mini.build(momentum=MOMENTUM)
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    x = keras.layers.Dropout(0.1)(x)
    model = keras.Model(base.input, keras.layers.Dense(10, activation="softmax")(x))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=peak, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=5e-4),
        keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    return base, model


def main() -> None:
    """Train, measure once on the test split, save the base without its head."""
    parser = argparse.ArgumentParser(description="Pretrain vgg-mini on CIFAR-10's train split.")
    parser.add_argument("--data", type=Path, required=True, help="a prepared cifar10 folder")
    parser.add_argument("--out", type=Path, required=True, help="where to write the weights")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    keras.utils.set_random_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    images, labels = (np.load(options.data / f"train_{part}.npy") for part in ("images", "labels"))
    targets = np.eye(10, dtype="float32")[labels]
    whole_batches = len(images) // options.batch_size * options.batch_size
    steps = whole_batches // options.batch_size * options.epochs
    base, model = classifier(steps, options.learning_rate)
    started = time.monotonic()
    for epoch in range(options.epochs):
        order = rng.permutation(len(images))[:whole_batches]
        batch = scale(augment(images[order], rng))
        history = model.fit(batch, targets[order], batch_size=options.batch_size, verbose=0)
        figures = {key: round(values[-1], 4) for key, values in history.history.items()}
        print(json.dumps({"epoch": epoch + 1, **figures, "s": round(time.monotonic() - started)}))
    test_images, test_labels = (
        np.load(options.data / f"test_{part}.npy") for part in ("images", "labels")
    )
    _, accuracy = model.evaluate(
        scale(test_images), np.eye(10, dtype="float32")[test_labels], batch_size=500, verbose=0
    )
    base.save_weights(options.out)
    print(
        json.dumps(
            {
                "test_accuracy": round(float(accuracy), 4),
                "parameters": base.count_params(),
                "bytes": options.out.stat().st_size,
                "seconds": round(time.monotonic() - started),
                "backend": keras.backend.backend(),
                "keras": keras.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
