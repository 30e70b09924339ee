"""What every backbone plugin promises, checked: each check raises a PluginError in plain words."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orch import registry
from orch.checks import Check, imports
from orch.checks.imports import Imported
from orch.contracts import API, BackboneFacts, Head, ImageInput, Plan
from orch.errors import PluginError
from orch.training import anatomy, backbones, cuts, fit, models, weight_files
from orch.training.cuts import Cut

EXAMPLES = 4
NEAR = 1e-4  # of the largest value: float32 in another order of operations


def facts(name: str) -> None:
    """Title, licence and homepage are given, sizes make sense, a source has a checksum."""
    known = registry.load_backbone(name).facts
    for field in ("title", "licence"):
        _require(bool(getattr(known, field).strip()), name, f"gives no {field}")
    _require(known.homepage.startswith("https://"), name, "gives no homepage at https://")
    _require(known.version >= 1, name, f"has version {known.version}, the first one is 1")
    sizes = 1 <= known.minimum_size <= known.image_size
    _require(sizes, name, "takes no images of the size it was trained on, by its minimum_size")
    if known.source:
        kind, _, digest = known.source.checksum.partition(":")
        lengths = {"sha256": 64, "md5": 32}
        good = len(digest) == lengths.get(kind) and not set(digest) - set("0123456789abcdef")
        _require(good, name, 'gives a checksum that is not "sha256:<hex>" or "md5:<hex>"')


def network(name: str) -> None:
    """It builds at the sizes it names, twice the same, with weights that fit every size."""
    known = registry.load_backbone(name).facts
    built = backbones.build(name, _square(known.image_size))
    shapes = [tuple(each.shape) for each in built.get_weights()]
    _require(bool(shapes), name, "builds a network without weights")
    for size in (known.image_size, known.minimum_size):
        other = backbones.build(name, _square(size))
        same = [tuple(each.shape) for each in other.get_weights()] == shapes
        _require(same, name, f"builds other weights at {size} × {size} pixels")
        if size == known.image_size:
            names = [layer.name for layer in built.layers if layer.get_weights()]
            again = [layer.name for layer in other.layers if layer.get_weights()]
            _require(len(again) == len(names), name, "builds other layers the second time")


def preprocessing(name: str) -> None:
    """Preprocessing is the same in a graph and out of it, each time, and example by example."""
    import keras
    import numpy as np

    side = registry.load_backbone(name).facts.minimum_size
    images = np.random.default_rng(0).uniform(0, 255, (EXAMPLES, side, side, 3)).astype("float32")
    whole = np.asarray(backbones.preprocess(name, keras.ops.convert_to_tensor(images)))
    inputs = keras.Input((side, side, 3))
    graph = keras.Model(inputs, backbones.preprocess(name, inputs))
    _require(not graph.weights, name, "preprocesses with layers that hold weights")
    for what, found in {
        "in training": graph(images, training=True),
        "the second time": graph(images, training=True),
        "in a graph": graph.predict_on_batch(images),
        "one example at a time": np.concatenate(
            [np.asarray(graph(images[at : at + 1])) for at in range(EXAMPLES)]
        ),
    }.items():
        _require(_near(found, whole), name, f"preprocesses otherwise {what}")


def cutting(name: str) -> None:
    """Frozen, it computes in training what it computes else; so does what is behind each cut."""
    import numpy as np

    side = registry.load_backbone(name).facts.minimum_size
    built = backbones.build(name, _square(side))
    models.freeze(built, len(built.layers))
    known = anatomy.inspect(name, side, side, built)
    plan = Plan(ImageInput(_square(side)), Head(), ())
    pixels = np.random.default_rng(1).integers(0, 256, (EXAMPLES, side, side, 3), np.uint8)
    before = [np.array(each) for each in built.get_weights()]
    whole = _features(built, name, plan, known, len(known.layers))
    expected = fit.predict(whole, pixels, EXAMPLES)
    deepest = cuts.choose(known, len(known.layers)).layers
    if deepest:
        quiet = _features(built, name, plan, known, deepest)
        trained, judged = quiet(pixels, training=True), quiet(pixels, training=False)
        _require(_near(trained, judged), name, "computes otherwise in training, though frozen")
    changed = not all(map(np.array_equal, before, built.get_weights()))
    _require(not changed, name, "changes its weights in training, though frozen")
    for cut in (each for each in known.stages[1:-1] if each <= deepest):
        stored = fit.predict(_features(built, name, plan, known, cut), pixels, EXAMPLES)
        behind = models.between(built, name, plan, cut, _cut(known, len(known.layers)))
        _require(
            _near(fit.predict(behind, stored, EXAMPLES), expected),
            name,
            f"computes otherwise behind a cut at {known.layers[cut - 1].name}",
        )


def weights(name: str) -> None:
    """Its weights come back out of a file as they went in; those it ships are what it says."""
    known = registry.load_backbone(name).facts
    built = backbones.build(name, _square(known.minimum_size))
    saved = weight_files.digest(built)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.weights.h5"
        built.save_weights(str(file))
        other = backbones.build(name, _square(known.image_size))
        weight_files.fill(other, name, file)
    _require(weight_files.digest(other) == saved, name, "does not give back the weights it kept")
    if known.shipped is None:
        return
    _require(known.shipped.file.is_file(), name, f"ships no {known.shipped.file.name}")
    weight_files.fill(built, name, known.shipped.file)
    found = weight_files.digest(built)
    same = found == known.shipped.digest
    _require(same, name, f"ships weights of another digest than it says: it is {found}")


BY_NAME: Mapping[str, Callable[[str], None]] = {
    "facts": facts,
    "network": network,
    "preprocessing": preprocessing,
    "cutting": cutting,
    "weights": weights,
}
"""Every check by its name, each of which takes the name of a backbone."""


def api(subject: Imported) -> None:
    """It says the supported `api` and has what the protocol asks for."""
    registry.load_backbone(subject.plugin.name)


def _promise(name: str, promise: str) -> Check[Imported]:
    check = BY_NAME[name]
    return Check(name, promise, lambda subject: check(subject.plugin.name), "content")


CHECKS: tuple[Check[Imported], ...] = (
    *imports.CHECKS,
    Check("api", f"it says api = {API} and has facts, build and preprocess", api, "plugin", True),
    _promise("facts", "title, licence, homepage, sizes and checksum are given and make sense"),
    _promise("network", "it builds the same network at every size that it names"),
    _promise("preprocessing", "preprocessing is a function of one example, in a graph and out"),
    _promise("cutting", "features at every stage are what the whole network computes"),
    _promise("weights", "weights come back from a file as they were"),
)


def _require(holds: bool, name: str, what: str) -> None:
    if not holds:
        raise PluginError(f"the backbone {name!r} {what}")


def _features(built: Any, name: str, plan: Plan, known: BackboneFacts, layers: int) -> Any:
    return models.between(built, name, plan, 0, _cut(known, layers))


def _cut(known: BackboneFacts, layers: int) -> Cut:
    return Cut(layers, known.layers[layers - 1].name, "a check")


def _near(found: Any, expected: Any) -> bool:
    import numpy as np

    one, other = np.asarray(found), np.asarray(expected)
    return bool(np.abs(one - other).max() <= NEAR * max(float(np.abs(other).max()), 1e-6))


def _square(size: int) -> tuple[int, int]:
    return size, size
