"""Fetching what a publisher serves, checked against what was published."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from orch.contracts import Progress, Source
from orch.errors import DataError


def obtain(published: Source, source: Path | None, scratch: Path, progress: Progress) -> Path:
    """The user's own copy where there is one, else the published file, fetched.

    A copy that has the published file's name must be that file.

    Raises:
        DataError: as `fetch` and `verify`.
    """
    if source is None:
        return fetch(published, scratch, progress)
    if source.is_file() and source.name == PurePosixPath(published.url).name:
        verify(source, published)
    return source


def fetch(source: Source, folder: Path, progress: Progress) -> Path:
    """Download a source into `folder`, check its checksum, return the file.

    Raises:
        DataError: it cannot be reached, or is not the file that was published.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # the progress says what pooch would
    name = PurePosixPath(source.url).name
    try:
        path = pooch.retrieve(
            source.url,
            known_hash=source.checksum,
            fname=name,
            path=folder,
            downloader=pooch.HTTPDownloader(
                progressbar=_Meter(source, progress),  # pyright: ignore[reportArgumentType]
                timeout=60,
            ),
        )
    except requests.RequestException as error:
        raise DataError(
            f"{source.url} cannot be fetched ({type(error).__name__}); nothing was changed",
            "fetch it elsewhere, then: orch datasets add NAME --from PATH",
        ) from error
    except ValueError:
        raise DataError(
            f"{source.url} has not the published {_short(source.checksum)}; it was deleted",
            "try again later, or give a copy of your own: orch datasets add NAME --from PATH",
        ) from None
    return Path(path)


class _Meter:
    """The progress bar that pooch drives; it also stops a download that outgrows its size."""

    def __init__(self, source: Source, progress: Progress) -> None:
        self.total = source.bytes
        self._source = source
        self._progress = progress
        self._done = 0

    def update(self, count: int) -> None:
        """Count a chunk; pooch counts the last one as a whole, however short it is."""
        if self._done >= self._source.bytes:
            raise DataError(
                f"{self._source.url} is larger than the published {self._source.bytes:,} bytes; "
                "the download was stopped and deleted"
            )
        self._done += count
        self._progress("fetching", min(self._done, self.total), self.total)

    def reset(self) -> None:
        """Begin again: pooch does so to show the whole at the end."""
        self._done = 0

    def close(self) -> None:
        """Show the end."""
        self._progress("fetching", self.total, self.total)


def _short(checksum: str) -> str:
    kind, digest = checksum.split(":")
    return f"{kind.upper().replace('SHA', 'SHA-')} {digest[:12]}…"


def verify(path: Path, source: Source) -> None:
    """Check that a local file is the published one.

    Raises:
        DataError: its size or SHA-256 differs.
    """
    kind, published = source.checksum.split(":")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, kind).hexdigest()
    if digest != published:
        raise DataError(
            f"{path} is not the published file: its {_short(f'{kind}:{digest}')} "
            f"is not {published[:12]}…; nothing was changed",
            "fetch it again; if you changed it on purpose, unpack it and give the folder",
        )
