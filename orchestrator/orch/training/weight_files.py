"""Weight files: their arrays into a network, what they are, and how a published one is fetched.

Three kinds are read, none of which is unpickled or runs code: Keras's `.weights.h5` and `.keras`
(its weights alone; what else it says of a model is not looked at), and `.npz` with an array for
each weight, called by its path in the network.
"""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from orch.contracts import Progress, Source
from orch.errors import DataError, first_line


def fill(network: Any, name: str, path: Path) -> None:
    """Load a weight file into a network and make sure that every array came from it.

    Raises:
        DataError: it is damaged, or holds the weights of another network.
    """
    try:
        problem = (_fill_npz if path.suffix == ".npz" else _fill_keras)(network, path)
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        problem = first_line(error) if str(error).strip() else "unreadable"
    if problem:
        raise DataError(
            f"{path} does not hold the weights of {name} without its classifier ({problem}); "
            "nothing was changed",
            f"orch backbones add {name} --from FILE",
        )


def _fill_npz(network: Any, path: Path) -> str:
    import numpy as np

    with np.load(path, allow_pickle=False) as held:
        wanted = {weight.path: weight for weight in network.weights}
        if missing := sorted(wanted.keys() ^ set(held.files)):
            return f"{missing[0]} is in one of them only"
        for name, weight in wanted.items():
            if held[name].shape != tuple(weight.shape):
                return f"{name} is {held[name].shape}, not {tuple(weight.shape)}"
        for name, weight in wanted.items():
            weight.assign(held[name])
    return ""


def _fill_keras(network: Any, path: Path) -> str:
    import numpy as np

    own = network.get_weights()
    held, wanted = _count_arrays(path), sum(each.dtype.kind == "f" for each in own)
    if held != wanted:
        return f"it holds {held} arrays, not {wanted}"
    blank = [np.full_like(e, np.nan) if e.dtype.kind == "f" else e for e in own]
    network.set_weights(blank)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Keras skips is found below
        network.load_weights(str(path))
    left = any(np.isnan(each).any() for each in network.get_weights())
    return "some of its arrays fit no layer" if left else ""


def _count_arrays(path: Path) -> int:
    """Count the arrays of real numbers in a weight file of Keras."""
    import h5py

    count = 0

    def visit(name: str, item: Any) -> None:
        nonlocal count
        outside = name.startswith(("optimizer", "top_level_model_weights"))
        if isinstance(item, h5py.Dataset) and not outside and item.dtype.kind == "f":
            count += 1

    with _hdf5(path) as content, h5py.File(content, "r") as file:
        file.visititems(visit)
    return count


@contextmanager
def _hdf5(path: Path) -> Generator[Any]:
    """The HDF5 file, or the one in a `.keras` archive."""
    if path.suffix != ".keras":
        yield path
        return
    with zipfile.ZipFile(path) as archive:
        yield io.BytesIO(archive.read("model.weights.h5"))


def digest(network: Any) -> str:
    """SHA-256 over shape, type and bytes of every weight array, in the network's order."""
    import numpy as np

    total = hashlib.sha256()
    for weight in network.get_weights():
        array = np.ascontiguousarray(weight)
        total.update(f"{array.shape}{array.dtype}".encode())
        total.update(array.data)
    return total.hexdigest()


# ── published files ─────────────────────────────────────────────────────────────────────────


def file_name(source: Source) -> str:
    """The name that a published file has."""
    return PurePosixPath(source.url).name


def verify(path: Path, source: Source) -> None:
    """Check that a local file is the published one.

    Raises:
        DataError: its checksum is another.
    """
    kind, published = source.checksum.split(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != published:
        raise DataError(
            f"{path} is not the published file: its {kind} {found[:12]}… is not "
            f"{published[:12]}…; nothing was changed",
            "fetch it again; if it is another on purpose, give it another name",
        )


def fetch(source: Source, folder: Path, name: str, progress: Progress) -> Path:
    """Download the weights of a backbone into `folder` and check them.

    Raises:
        DataError: they cannot be reached, or are not what was published.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # the progress says what pooch would
    progress(f"fetching the weights of {name}", 0, source.bytes)
    try:
        path = pooch.retrieve(
            source.url, known_hash=source.checksum, fname=file_name(source), path=folder
        )
    except (requests.RequestException, ValueError) as error:
        why = "it has not the published checksum" if isinstance(error, ValueError) else ""
        raise DataError(
            f"{source.url} cannot be used ({why or type(error).__name__}); nothing was changed",
            f"fetch it elsewhere, then: orch backbones add {name} --from FILE",
        ) from error
    return Path(path)
