"""Pretrained networks: build, preprocess, describe, and find or fetch their weights.

Frozen layers are counted as in `for layer in network.layers[:k]`, input layer included, on the
network without its classifier. Every network is a plugin's, those that come with orch too.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orch import registry
from orch.blueprint import source_of
from orch.contracts import BackboneFacts, LayerFacts, NetworkFacts, Progress, PublishedWeights
from orch.errors import DataError, NotFoundError, PluginError, first_line
from orch.home import Home, write_json
from orch.training import anatomy, weight_files

FIRST = "vgg-mini"  # the one that works at once, and is listed first


@dataclass(frozen=True)
class Weights:
    """A weight file, the digest of the arrays in it (not of the file), and the network's version.

    `added` says that the file lies in home; else it came with the plugin.
    """

    path: Path
    arrays: str
    version: int = 1
    added: bool = True

    @property
    def digest(self) -> str:
        """The identity of the network: that of its arrays where its version is the first."""
        if self.version == 1:
            return self.arrays
        return hashlib.sha256(f"{self.arrays} {self.version}".encode()).hexdigest()


def names() -> list[str]:
    """Every backbone that can be asked for, the embedded one first."""
    return sorted(registry.backbone_names(), key=lambda name: (name != FIRST, name))


def check_name(name: str) -> None:
    """Refuse a name that is no backbone.

    Raises:
        NotFoundError: with the nearest names.
    """
    if name not in registry.backbone_names():
        raise NotFoundError.among("backbone", name, names(), "orch backbones lists all")


def facts(name: str) -> NetworkFacts:
    """What a backbone's plugin says of it.

    Raises:
        NotFoundError, PluginError: as `registry.load_backbone`.
    """
    return registry.load_backbone(name).facts


# ── building ────────────────────────────────────────────────────────────────────────────────


def build(name: str, size: tuple[int, int]) -> Any:
    """Build the `keras.Model` without classifier for images of `size` (height, width) pixels.

    Raises:
        PluginError: its plugin raised, or built what cannot be trained.
    """
    plugin = registry.load_backbone(name)
    with registry.blaming("backbone", name):
        network = plugin.build(size)
    anatomy.check(name, network, size)
    return network


def preprocess(name: str, images: Any) -> Any:
    """Scale float images in [0, 255], RGB, to what the network was trained on.

    `images` is a Keras tensor, symbolic or not, of shape (batch, height, width, 3).

    Raises:
        PluginError: its plugin raised, or changed the shape.
    """
    plugin, shape = registry.load_backbone(name), tuple(images.shape)
    with registry.blaming("backbone", name):
        scaled = plugin.preprocess(images)
    found = tuple(getattr(scaled, "shape", ()))
    if found != shape:
        raise PluginError(f"the backbone {name!r} preprocesses images {shape} to {found}")
    return scaled


def load(name: str, size: tuple[int, int], weights: Weights) -> Any:
    """Build a network and give it its weights.

    Raises:
        DataError: the file belongs to another network or its content has changed.
        PluginError: as `build`.
    """
    network = build(name, size)
    weight_files.fill(network, name, weights.path)
    found = weight_files.digest(network)
    if found != weights.arrays:
        raise DataError(
            f"{weights.path} is not what was added: the digest of its arrays has changed, "
            f"to {found[:12]}",
            f"orch backbones add {name} --from FILE",
        )
    return network


# ── weights ─────────────────────────────────────────────────────────────────────────────────


def find_weights(home: Home, name: str) -> Weights | None:
    """The weights that were added, or come with the plugin, or None.

    Raises:
        DataError: their manifest is damaged.
        NotFoundError, PluginError: as `registry.load_backbone`.
    """
    return weights_of(home, facts(name))


def weights_of(home: Home, known: NetworkFacts) -> Weights | None:
    """As `find_weights`, for a backbone whose facts are known.

    Raises:
        DataError: their manifest is damaged.
    """
    return _added(home, known) or _shipped(known)


def _added(home: Home, known: NetworkFacts) -> Weights | None:
    manifest = home.weights / f"{known.name}.json"
    if not manifest.is_file():
        return None
    try:
        document = json.loads(manifest.read_text())
        path, version = _weight_file(home.weights, known.name), document.get("version", 1)
        weights = Weights(path, document["digest"], version)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{manifest} is damaged", f"orch backbones add {known.name}") from None
    return weights if version == known.version and weights.path.is_file() else None


def _shipped(known: NetworkFacts) -> Weights | None:
    there = known.shipped
    if there is None or not there.file.is_file():
        return None
    return Weights(there.file, there.digest, known.version, added=False)


def ensure_weights(home: Home, name: str, extra_folder: str, progress: Progress) -> Weights:
    """Find the weights, or take them from `extra_folder`, or fetch them where they are published.

    Raises:
        DataError: they are nowhere and cannot be fetched, or are those of another network.
    """
    found = find_weights(home, name)
    if found is not None:
        return found
    local = _in_folder(Path(extra_folder), facts(name)) if extra_folder else None
    return _fetch(home, name, progress) if local is None else add_weights(home, name, local)


def add_weights(home: Home, name: str, file: Path) -> Weights:
    """Check that a local weight file fits the network and copy its arrays into home.

    A file that has the published one's name must be that file.

    Raises:
        DataError: the file is missing, unreadable or of another network.
        PluginError: as `build`.
    """
    known = facts(name)
    if not file.is_file():
        raise DataError(f"{file} does not exist; nothing was changed")
    if known.source and file.name == weight_files.file_name(known.source):
        weight_files.verify(file, known.source)
    network = build(name, _square(max(known.minimum_size, 64)))
    weight_files.fill(network, name, file)
    return _keep(home, known, network, str(file))


def _fetch(home: Home, name: str, progress: Progress) -> Weights:
    home.create()
    plugin = registry.load_backbone(name)
    if plugin.facts.source is not None:
        home.weights.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.weights) as folder:
            file = weight_files.fetch(plugin.facts.source, Path(folder), name, progress)
            return add_weights(home, name, file)
    if not isinstance(plugin, PublishedWeights):
        raise DataError(
            f"the weights of {name} are not here, and its plugin says nowhere to fetch them; "
            "nothing was started",
            f"orch backbones add {name} --from FILE",
        )
    progress(f"fetching the weights of {name}", 0, None)
    size = _square(plugin.facts.image_size)
    try:
        with redirect_stdout(io.StringIO()):  # where Keras draws a bar of its own
            network = plugin.published(size)
    except Exception as error:  # Keras raises bare Exception when a URL cannot be reached
        raise DataError(
            f"the weights of {name} cannot be fetched ({first_line(error)}); nothing was started",
            f"orch backbones add {name} --from FILE, or ORCH_WEIGHTS_DIR=FOLDER, "
            "or --backbone vgg-mini, which comes with its weights",
        ) from error
    anatomy.check(name, network, size)
    return _keep(home, plugin.facts, network, f"{type(plugin).__module__}")


def _keep(home: Home, known: NetworkFacts, network: Any, source: str) -> Weights:
    home.weights.mkdir(mode=0o700, parents=True, exist_ok=True)
    final = _weight_file(home.weights, known.name)
    with tempfile.TemporaryDirectory(dir=home.weights) as folder:
        temporary = Path(folder) / final.name
        network.save_weights(str(temporary))
        os.replace(temporary, final)
    weights = Weights(final, weight_files.digest(network), known.version)
    document = {"digest": weights.arrays, "source": source, "version": known.version}
    write_json(home.weights / f"{known.name}.json", document)
    return weights


def _weight_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.weights.h5"


def _in_folder(folder: Path, known: NetworkFacts) -> Path | None:
    name = known.name
    candidates = (
        *([weight_files.file_name(known.source)] if known.source else []),
        f"{name}.weights.h5",
        f"{name}_notop.weights.h5",
        f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5",
        f"{name}_notop.h5",
        f"{name}.keras",
        f"{name}.npz",
    )
    return next((folder / file for file in candidates if (folder / file).is_file()), None)


# ── facts ───────────────────────────────────────────────────────────────────────────────────


def describe(home: Home, name: str) -> BackboneFacts:
    """The layers and canonical cuts of a backbone; computed once, then read from home.

    Raises:
        NotFoundError, PluginError: as `build`.
    """
    known = facts(name)
    path = home.root / "backbones" / f"{name}-{_described(name)}.json"
    if path.is_file():
        try:
            return _facts_from(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError):
            path.unlink()  # damaged: it is computed again
    size = known.image_size
    found = anatomy.inspect(name, size, known.minimum_size, build(name, _square(size)))
    write_json(path, asdict(found))
    return found


def _described(name: str) -> str:
    """What a description is valid for: Keras's version, and the plugin as it is today."""
    from importlib.metadata import version

    plugin = registry.load_backbone(name)
    source = source_of(type(plugin))
    text = f"{plugin.facts} {registry.version(registry.BACKBONES, name)} {source}"
    return f"keras-{version('keras')}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _facts_from(document: dict[str, Any]) -> BackboneFacts:
    layers = tuple(LayerFacts(**layer) for layer in document.pop("layers"))
    cuts, stages = tuple(document.pop("cuts")), tuple(document.pop("stages"))
    return BackboneFacts(**document, layers=layers, cuts=cuts, stages=stages)


def _square(size: int) -> tuple[int, int]:
    return size, size
