"""Pretrained networks: build, preprocess, describe, and find or fetch their weights.

Frozen layers are counted as in `for layer in network.layers[:k]`, input layer included, on the
network without its classifier (`include_top=False`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import warnings
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orch.contracts import BackboneFacts, LayerFacts, Progress
from orch.errors import DataError, NotFoundError
from orch.home import Home, write_json
from orch.training import vgg_mini
from orch.training.applications import APPLICATIONS

VGG_MINI = "vgg-mini"
SHIPPED = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Weights:
    """A weight file and the digest of the arrays in it (not of the file)."""

    path: Path
    digest: str


def names() -> list[str]:
    """Every backbone that can be asked for, ours first."""
    return [VGG_MINI, *APPLICATIONS]


def check_name(name: str) -> None:
    """Refuse a name that is no backbone.

    Raises:
        NotFoundError: with the nearest names.
    """
    if name not in names():
        raise NotFoundError.among("backbone", name, names(), "orch backbones lists all")


# ── building ────────────────────────────────────────────────────────────────────────────────


def build(name: str, size: tuple[int, int], weights: str | None = None) -> Any:
    """Build the `keras.Model` without classifier for images of `size` (height, width) pixels.

    With `weights="imagenet"` Keras fetches the published weights from its own source.
    """
    check_name(name)
    if name == VGG_MINI:
        return vgg_mini.build((*size, 3))
    import keras

    function = getattr(keras.applications, APPLICATIONS[name].function)
    return function(include_top=False, weights=weights, input_shape=(*size, 3))


def preprocess(name: str, images: Any) -> Any:
    """Scale float images in [0, 255], RGB, to what the network was trained on.

    `images` is a Keras tensor, symbolic or not, of shape (batch, height, width, 3).
    """
    if name == VGG_MINI:
        return images / 127.5 - 1.0
    import keras

    module = getattr(keras.applications, APPLICATIONS[name].module)
    return module.preprocess_input(images)


def load(name: str, size: tuple[int, int], weights: Weights) -> Any:
    """Build a network and give it its weights.

    Raises:
        DataError: the file belongs to another network or its content has changed.
    """
    network = build(name, size)
    _fill(network, name, weights.path)
    if digest(network) != weights.digest:
        raise DataError(
            f"{weights.path} is not what was added: the digest of its arrays has changed",
            f"orch backbones add {name} --from FILE",
        )
    return network


def _fill(network: Any, name: str, path: Path) -> None:
    """Load a weight file into a network and make sure that every array came from it."""
    import numpy as np

    problem = ""
    try:
        own = network.get_weights()
        held, wanted = _count_arrays(path), sum(each.dtype.kind == "f" for each in own)
        if held != wanted:
            problem = f"it holds {held} arrays, not {wanted}"
        else:
            blank = [np.full_like(e, np.nan) if e.dtype.kind == "f" else e for e in own]
            network.set_weights(blank)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Keras skips is found below
                network.load_weights(str(path))
            if any(np.isnan(each).any() for each in network.get_weights()):
                problem = "some of its arrays fit no layer"
    except (ValueError, OSError, KeyError) as error:
        problem = (str(error).strip() or "unreadable").splitlines()[0]
    if problem:
        raise DataError(
            f"{path} does not hold the weights of {name} without its classifier ({problem}); "
            "nothing was changed",
            f"orch backbones add {name} --from FILE",
        )


def _count_arrays(path: Path) -> int:
    """Count the arrays of real numbers in an HDF5 weight file."""
    import h5py

    count = 0

    def visit(name: str, item: Any) -> None:
        nonlocal count
        outside = name.startswith(("optimizer", "top_level_model_weights"))
        if isinstance(item, h5py.Dataset) and not outside and item.dtype.kind == "f":
            count += 1

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return count


def digest(network: Any) -> str:
    """SHA-256 over shape, type and bytes of every weight array, in the network's order."""
    import numpy as np

    total = hashlib.sha256()
    for weight in network.get_weights():
        array = np.ascontiguousarray(weight)
        total.update(f"{array.shape}{array.dtype}".encode())
        total.update(array.data)
    return total.hexdigest()


# ── weights ─────────────────────────────────────────────────────────────────────────────────


def find_weights(home: Home, name: str) -> Weights | None:
    """The weights that are shipped or were added, or None.

    Raises:
        DataError: their manifest is damaged.
    """
    check_name(name)
    folder = SHIPPED if name == VGG_MINI else home.weights
    manifest = folder / f"{name}.json"
    if not manifest.is_file():
        return None
    try:
        weights = Weights(_weight_file(folder, name), json.loads(manifest.read_text())["digest"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{manifest} is damaged", f"orch backbones add {name}") from None
    return weights if weights.path.is_file() else None


def ensure_weights(home: Home, name: str, extra_folder: str, progress: Progress) -> Weights:
    """Find the weights, or take them from `extra_folder`, or fetch them from Keras's source.

    Raises:
        DataError: they are nowhere and cannot be fetched, or are those of another network.
    """
    found = find_weights(home, name)
    if found is not None:
        return found
    local = _in_folder(Path(extra_folder), name) if extra_folder else None
    return _fetch(home, name, progress) if local is None else add_weights(home, name, local)


def add_weights(home: Home, name: str, file: Path) -> Weights:
    """Check that a local weight file fits the network and copy its arrays into home.

    Raises:
        DataError: the file is missing, unreadable or of another network.
    """
    check_name(name)
    if not file.is_file():
        raise DataError(f"{file} does not exist; nothing was changed")
    network = build(name, _square(max(_minimum(name), 64)))
    _fill(network, name, file)
    return _keep(home, name, network, str(file))


def _fetch(home: Home, name: str, progress: Progress) -> Weights:
    home.create()
    progress(f"fetching the weights of {name}", 0, None)
    try:
        with redirect_stdout(io.StringIO()):  # where Keras draws a bar of its own
            network = build(name, _square(image_size(name)), weights="imagenet")
    except Exception as error:  # Keras raises bare Exception when a URL cannot be reached
        raise DataError(
            f"the weights of {name} cannot be fetched ({str(error).splitlines()[0]}); "
            "nothing was started",
            f"orch backbones add {name} --from FILE, or ORCH_WEIGHTS_DIR=FOLDER",
        ) from error
    return _keep(home, name, network, "keras.applications")


def _keep(home: Home, name: str, network: Any, source: str) -> Weights:
    home.weights.mkdir(mode=0o700, parents=True, exist_ok=True)
    final = _weight_file(home.weights, name)
    with tempfile.TemporaryDirectory(dir=home.weights) as folder:
        temporary = Path(folder) / final.name
        network.save_weights(str(temporary))
        os.replace(temporary, final)
    weights = Weights(final, digest(network))
    write_json(home.weights / f"{name}.json", {"digest": weights.digest, "source": source})
    return weights


def _weight_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.weights.h5"


def _in_folder(folder: Path, name: str) -> Path | None:
    candidates = (
        f"{name}.weights.h5",
        f"{name}_notop.weights.h5",
        f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5",
        f"{name}_notop.h5",
    )
    return next((folder / file for file in candidates if (folder / file).is_file()), None)


# ── facts ───────────────────────────────────────────────────────────────────────────────────


def describe(home: Home, name: str) -> BackboneFacts:
    """The layers and canonical cuts of a backbone; computed once, then read from home."""
    from importlib.metadata import version

    check_name(name)
    path = home.root / "backbones" / f"{name}-keras-{version('keras')}.json"
    if path.is_file():
        try:
            return _facts_from(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError):
            path.unlink()  # damaged: it is computed again
    size = image_size(name)
    facts = inspect(name, size, _minimum(name), build(name, _square(size)))
    write_json(path, asdict(facts))
    return facts


def inspect(name: str, size: int, minimum: int, network: Any) -> BackboneFacts:
    """Read the facts of a functional `keras.Model`."""
    layers = tuple(
        LayerFacts(layer.name, type(layer).__name__, layer.count_params())
        for layer in network.layers
    )
    bare = BackboneFacts(name, size, minimum, layers, (), ())
    ends = {end + 1 for end in separators(network)}
    cuts = tuple(sorted({0} | {end for end in ends if bare.canonical(end) == end}))
    return BackboneFacts(name, size, minimum, layers, cuts, _stages(network, layers, cuts))


def separators(network: Any) -> list[int]:
    """The indices of layers whose single output tensor separates what is before from after.

    Every path from the input to a later layer runs through the output of such a layer.
    """
    index = {id(layer): position for position, layer in enumerate(network.layers)}
    found: list[int] = []
    reach = 0  # the last layer that reads the output of any earlier layer
    for position, layer in enumerate(network.layers):
        if reach <= position:
            found.append(position)
        readers = [
            index[id(node.operation)]
            for node in layer._outbound_nodes
            if id(node.operation) in index
        ]
        reach = max([reach, *readers])
    return found


def _stages(network: Any, layers: tuple[LayerFacts, ...], cuts: tuple[int, ...]) -> tuple[int, ...]:
    """The last cut at each image size, taken before the parameter-free layers that follow."""
    last: dict[int, int] = {}
    for cut in cuts[1:]:
        weighted = max(end for end in range(cut) if layers[end].parameters)
        last[int(network.layers[weighted].output.shape[1])] = cut
    return (0, *sorted(last.values()))


def _facts_from(document: dict[str, Any]) -> BackboneFacts:
    layers = tuple(LayerFacts(**layer) for layer in document.pop("layers"))
    cuts, stages = tuple(document.pop("cuts")), tuple(document.pop("stages"))
    return BackboneFacts(**document, layers=layers, cuts=cuts, stages=stages)


def image_size(name: str) -> int:
    """Pixels per side of the images that the published weights were trained on."""
    return 32 if name == VGG_MINI else APPLICATIONS[name].size


def _minimum(name: str) -> int:
    return 32 if name == VGG_MINI else APPLICATIONS[name].minimum


def _square(size: int) -> tuple[int, int]:
    return size, size
