"""What dataset plugins share: unpacking, decoding and serving, all with limits.

Nothing that comes from outside is trusted with a path, unpickled or decoded without bounds.
"""

from __future__ import annotations

import errno
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from orch.contracts import Progress, Split
from orch.errors import DataError

MAX_PIXELS = 50_000_000
MAX_MEMBERS = 1_000_000
MAX_BYTES = 16 * 2**30  # of one unpacked archive
IMAGE_FORMATS = ("JPEG", "PNG")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

DAMAGED = (
    EOFError,
    NotImplementedError,  # a zip with a compression that Python lacks
    OSError,
    RuntimeError,  # an encrypted zip
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
OF_THE_DISK = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)


# ── unpacking ───────────────────────────────────────────────────────────────────────────────


@contextmanager
def unpacked(source: Path, scratch: Path, progress: Progress) -> Generator[Path]:
    """Yield `source` if it is a folder, else the folder that the archive unpacks to.

    Raises:
        DataError: no such file, no archive, damaged, over the limits, or trying to escape.
    """
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise DataError(f"{source} does not exist; nothing was changed")
    target = scratch / "unpacked"
    target.mkdir()
    try:
        extract(source, target, progress)
        yield target
    except DataError as error:  # what it names will be gone: name the archive instead
        raise DataError(error.message.replace(str(target), str(source)), error.hint) from error
    finally:
        shutil.rmtree(target, ignore_errors=True)


def extract(archive: Path, target: Path, progress: Progress) -> None:
    """Unpack a tar (plain, gz, bz2, xz) or zip archive of regular files into `target`.

    Every member is checked by us before it is written: no absolute path, no `..`, no link, no
    device, no more than MAX_MEMBERS members and MAX_BYTES bytes.

    Raises:
        DataError: naming the archive and what is wrong with it.
    """
    try:
        if tarfile.is_tarfile(archive):
            _extract_tar(archive, target, progress)
        elif zipfile.is_zipfile(archive):
            _extract_zip(archive, target, progress)
        else:
            raise DataError(
                f"{archive} is not a tar or zip archive, or it is damaged; nothing was changed"
            )
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            raise
        raise DataError(
            f"{archive} is truncated or damaged ({error}); nothing was changed",
            "fetch or copy it again",
        ) from error


def _extract_tar(archive: Path, target: Path, progress: Progress) -> None:
    quota = _Quota(archive)
    with tarfile.open(archive, "r:*") as tar:
        for count, member in enumerate(tar):
            quota.admit()
            place = _place(archive, target, member.name)
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None:
                raise DataError(f"{archive} holds {member.name!r}, which is a link or a device")
            with stream:
                quota.write(stream, place, member.size)
            if count % 500 == 0:
                progress("unpacking", count, None)
        _check_end(tar)


def _check_end(tar: tarfile.TarFile) -> None:
    """Make sure that a tar ends where it says: tarfile takes a damaged header for the end.

    A compressed archive is read to its end, where its checksum is.
    """
    stream = tar.fileobj
    assert stream is not None
    stream.seek(tar.offset)
    end = stream.read(tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE or end.strip(b"\0"):
        raise EOFError("it does not end as a tar archive does")
    while stream.read(1 << 20):
        pass


def _extract_zip(archive: Path, target: Path, progress: Progress) -> None:
    quota = _Quota(archive)
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        for count, member in enumerate(members):
            quota.admit()
            place = _place(archive, target, member.filename)
            if member.is_dir():
                place.mkdir(parents=True, exist_ok=True)
                continue
            with packed.open(member) as stream:
                quota.write(stream, place, member.file_size)
            if count % 500 == 0:
                progress("unpacking", count, len(members))


def _place(archive: Path, target: Path, name: str) -> Path:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise DataError(f"{archive} holds {name!r}, which would be written outside its folder")
    return target.joinpath(*path.parts)


class _Quota:
    """Counts what an archive writes and stops it at the limits."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._members = 0
        self._bytes = 0

    def admit(self) -> None:
        """Count one more member."""
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise DataError(f"{self._archive} unpacks to more than is accepted")

    def write(self, stream: IO[bytes], place: Path, claimed: int) -> None:
        """Write one member; it must have the size that it claims."""
        place.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with place.open("xb") as file:
            while chunk := stream.read(1 << 20):
                written += len(chunk)
                self._bytes += len(chunk)
                if self._bytes > MAX_BYTES:
                    raise DataError(f"{self._archive} unpacks to more than is accepted")
                file.write(chunk)
        if written != claimed:
            raise EOFError(f"{place.name} has {written} of {claimed} bytes")


# ── decoding ────────────────────────────────────────────────────────────────────────────────


def decode_image(path: Path) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG file to uint8 (height, width, 3), RGB.

    Raises:
        DataError: it does not decode or has more than MAX_PIXELS pixels; the file is named.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path} has {image.width} × {image.height} pixels: too many")
            return np.asarray(image.convert("RGB"), np.uint8)
    except (
        Image.DecompressionBombError,
        UnidentifiedImageError,
        OSError,
        SyntaxError,
        ValueError,
    ) as error:
        raise DataError(
            f"{path} does not decode as an image ({error}); nothing was changed",
            "repair or remove that file, then run the same command again",
        ) from error


# ── class folders ───────────────────────────────────────────────────────────────────────────


def class_files(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """List the images of `folder/<class>/`, by class and then by name, with class indices.

    Raises:
        DataError: the folder of a class is missing or holds no image.
    """
    found: list[tuple[Path, int]] = []
    for index, name in enumerate(classes):
        place = folder / name
        if not place.is_dir():
            raise DataError(
                f"{place} is missing: every class needs a folder of images; nothing was changed",
                "name an archive or folder of this dataset",
            )
        images = sorted(p for p in place.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise DataError(f"{place} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        found.extend((path, index) for path in images)
    return found


# ── arrays as a dataset's installed form ────────────────────────────────────────────────────


@dataclass(frozen=True)
class ArraySplit:
    """A split whose examples are one array: uint8 (n, height, width, 3), int64 (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def image(self, index: int) -> NDArray[np.uint8]:
        """One example, uint8 (height, width, 3)."""
        return self.images[index]


def save_split(
    folder: Path, split: str, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    """Write a split as `<split>_images.npy` and `<split>_labels.npy`."""
    save_array(folder / f"{split}_images.npy", images)
    save_array(folder / f"{split}_labels.npy", labels.astype(np.int64))


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as `.npy`; unlike np.save this says why a disk refused."""
    content = np.ascontiguousarray(array)
    header = np.lib.format.header_data_from_array_1_0(content)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(content.data)


def load_splits(folder: Path) -> Mapping[str, Split]:
    """Open, memory-mapped, the splits that `save_split` wrote."""
    return {
        path.name.removesuffix("_images.npy"): ArraySplit(
            np.load(path, mmap_mode="r"),
            np.load(path.with_name(path.name.replace("_images", "_labels"))),
        )
        for path in sorted(folder.glob("*_images.npy"))
    }


def stratified(
    labels: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide example indices into (rest, part): `fraction` of each class, rounded, into part.

    Both are sorted, disjoint, and together all indices; part has at least one of each class.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[: max(1, round(len(members) * fraction))]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def require_pairs(labels: Sequence[int], classes: tuple[str, ...]) -> None:
    """Check that every class can be trained and judged.

    Raises:
        DataError: a class has fewer than two examples.
    """
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(classes))
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count < 2:
            raise DataError(
                f"the class {name!r} has {count} of the 2 examples that it takes: "
                "one to train on and one to be judged by; nothing was changed",
                f"add examples of {name!r}",
            )
