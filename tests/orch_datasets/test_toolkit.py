from __future__ import annotations

import hashlib
import http.server
import io
import random
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from orch.contracts import Source
from orch.errors import DataError
from orch.testing import silent
from orch_datasets import downloads, toolkit

Member = tuple[str, bytes]
FILES: tuple[Member, ...] = (("a/one.txt", b"1" * 5000), ("two.txt", b""), ("b/c/three", b"3"))


def tar(path: Path, *members: Member | tarfile.TarInfo, mode: str = "w") -> Path:
    """Write a tar archive of files, or of members as they are given."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def pack(path: Path, *members: Member, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip archive of files."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


MAKERS: dict[str, Callable[..., Path]] = {
    "tar": lambda path, *members: tar(path, *members),
    "tar.gz": lambda path, *members: tar(path, *members, mode="w:gz"),
    "tar.bz2": lambda path, *members: tar(path, *members, mode="w:bz2"),
    "tar.xz": lambda path, *members: tar(path, *members, mode="w:xz"),
    "zip": lambda path, *members: pack(path, *members),
}
KINDS = pytest.mark.parametrize("kind", MAKERS)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The folder that an archive is unpacked into; nothing may be written beside it."""
    place = tmp_path / "outer" / "target"
    place.mkdir(parents=True)
    return place


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive: Path, target: Path, words: str | None = None) -> DataError:
    with pytest.raises(DataError, match=words) as caught:
        toolkit.extract(archive, target, silent)
    assert caught.value.exit_code == 4
    assert str(archive) in caught.value.message
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    return caught.value


# ── unpacking ───────────────────────────────────────────────────────────────────────────────


@KINDS
def test_an_archive_becomes_its_files(tmp_path: Path, target: Path, kind: str) -> None:
    toolkit.extract(MAKERS[kind](tmp_path / "x", *FILES), target, silent)
    assert files(target) == dict(FILES)


def test_folders_are_made_and_modes_are_not_taken_over(tmp_path: Path, target: Path) -> None:
    folder = special("empty", tarfile.DIRTYPE)
    program = special("run", tarfile.REGTYPE)
    program.mode = 0o4777
    toolkit.extract(tar(tmp_path / "x", folder, program), target, silent)
    assert (target / "empty").is_dir()
    assert (target / "run").stat().st_mode & 0o7111 == 0


ESCAPES = [
    "/etc/cron.d/x",
    "../x",
    "a/../../x",
    "a/..",
    "..\\x",
    "a\\..\\..\\x",
    "\\windows\\x",
    "C:\\x",
    "c:x",
]


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("name", ESCAPES)
def test_a_path_that_leads_outside_is_refused(
    tmp_path: Path, target: Path, kind: str, name: str
) -> None:
    archive = MAKERS[kind](tmp_path / "x", (name, b"evil"))
    refused(archive, target, "would be written outside its folder")
    assert files(target) == {}


@pytest.mark.parametrize(
    "member",
    [
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("link", tarfile.SYMTYPE, "near"),
        special("link", tarfile.LNKTYPE, "a/one.txt"),
        special("pipe", tarfile.FIFOTYPE),
        special("disk", tarfile.BLKTYPE),
        special("null", tarfile.CHRTYPE),
    ],
    ids=["symlink out", "symlink", "hard link", "pipe", "block device", "character device"],
)
def test_what_is_no_file_is_refused(tmp_path: Path, target: Path, member: tarfile.TarInfo) -> None:
    archive = tar(tmp_path / "x", *FILES, member)
    error = refused(archive, target, "which is a link or a device")
    assert repr(member.name) in error.message
    assert not (target / member.name).exists()
    assert not (target / member.name).is_symlink()


def test_writing_through_a_link_is_refused(tmp_path: Path, target: Path) -> None:
    link = special("door", tarfile.SYMTYPE, str(tmp_path))
    refused(tar(tmp_path / "x", link, ("door/evil", b"evil")), target, "link or a device")
    assert not (tmp_path / "evil").exists()


@KINDS
def test_too_many_bytes_are_refused(
    tmp_path: Path, target: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = MAKERS[kind](tmp_path / "x", *FILES)
    monkeypatch.setattr(toolkit, "MAX_BYTES", 5001)
    toolkit.extract(archive, target, silent)
    monkeypatch.setattr(toolkit, "MAX_BYTES", 5000)
    other = target.parent.parent / "second" / "target"
    other.mkdir(parents=True)
    refused(archive, other, "unpacks to more than is accepted")
    assert sum(map(len, files(other).values())) <= 5000


@KINDS
def test_too_many_members_are_refused(
    tmp_path: Path, target: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = MAKERS[kind](tmp_path / "x", *((f"{n}", b"x") for n in range(9)))
    monkeypatch.setattr(toolkit, "MAX_MEMBERS", 5)
    refused(archive, target, "unpacks to more than is accepted")
    assert sum(map(len, files(target).values())) <= 5


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.REGTYPE])
def test_too_many_folders_or_empty_files_are_refused(
    tmp_path: Path, target: Path, kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tar(tmp_path / "x", *(special(f"{n}", kind) for n in range(9)))
    monkeypatch.setattr(toolkit, "MAX_MEMBERS", 5)
    refused(archive, target, "unpacks to more than is accepted")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_a_truncated_archive_is_said(tmp_path: Path, target: Path, kind: str, kept: float) -> None:
    noise = random.Random(0).randbytes(300_000)
    whole = MAKERS[kind](tmp_path / "whole", ("first", b"1"), ("noise", noise)).read_bytes()
    archive = tmp_path / f"cut.{kind}"
    archive.write_bytes(whole[: int(len(whole) * kept)])
    error = refused(archive, target, "damaged")
    assert "nothing was changed" in error.message


def test_a_tar_archive_cut_inside_a_file_is_said(tmp_path: Path, target: Path) -> None:
    archive = tar(tmp_path / "x", ("a", b"x" * 10_000))
    archive.write_bytes(archive.read_bytes()[:5000])
    assert refused(archive, target, "truncated or damaged").hint == "fetch or copy it again"


@pytest.mark.parametrize("size", [1024, 1024 + 200], ids=["between members", "inside a header"])
def test_a_tar_archive_cut_between_its_files_is_said(
    tmp_path: Path, target: Path, size: int
) -> None:
    archive = tar(tmp_path / "x", ("a", b"1"), ("b", b"2"))
    archive.write_bytes(archive.read_bytes()[:size])
    refused(archive, target, "truncated or damaged")


def test_a_tar_archive_with_a_damaged_header_is_said(tmp_path: Path, target: Path) -> None:
    archive = tar(tmp_path / "x", ("a", b"1"), ("b", b"2"))
    content = bytearray(archive.read_bytes())
    content[1024] ^= 1  # the first letter of the second name
    archive.write_bytes(content)
    refused(archive, target, "truncated or damaged")


@pytest.mark.parametrize(
    "kind",
    [
        "tar.bz2",
        "tar.xz",
        "zip",
        pytest.param(
            "tar.gz",
        ),
    ],
)
def test_a_flipped_bit_in_a_compressed_file_is_said(
    tmp_path: Path, target: Path, kind: str
) -> None:
    noise = random.Random(0).randbytes(100_000)  # stored as it is: a flip does not end the stream
    archive = MAKERS[kind](tmp_path / "x", ("noise", noise))
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    refused(archive, target, "damaged")


@pytest.mark.parametrize(
    "content", [b"", b"just text\n" * 100, b"\x89PNG\r\n\x1a\n", b"PK\x03\x04"]
)
def test_what_is_no_archive_is_said(tmp_path: Path, target: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    refused(tmp_path / "x", target, "not a tar or zip archive, or it is damaged")


def test_the_beginning_of_an_archive_is_none(tmp_path: Path, target: Path) -> None:
    whole = tar(tmp_path / "x", *FILES, mode="w:gz").read_bytes()
    for size in range(3, 30):
        (tmp_path / "x").write_bytes(whole[:size])
        refused(tmp_path / "x", target, "damaged")


def _same_name_twice(path: Path) -> Path:
    return tar(path, ("a", b"1"), ("a", b"2"))


def _file_as_folder(path: Path) -> Path:
    return tar(path, ("a", b"1"), ("a/b", b"2"))


def _no_name(path: Path) -> Path:
    return tar(path, (".", b"1"))


def _long_name(path: Path) -> Path:
    return tar(path, ("n" * 300, b"1"))


def _encrypted(path: Path) -> Path:
    return _patched(path, 6, 8, 1)


def _unknown_method(path: Path) -> Path:
    return _patched(path, 8, 10, 99)


def _patched(path: Path, local: int, central: int, value: int) -> Path:
    """Change a field of a zip archive's only member, in both its headers."""
    content = bytearray(pack(path, ("a", b"1")).read_bytes())
    for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        struct.pack_into("<H", content, content.index(mark) + offset, value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "make",
    [_same_name_twice, _file_as_folder, _no_name, _long_name, _encrypted, _unknown_method],
    ids=lambda make: make.__name__.strip("_"),
)
def test_an_archive_that_cannot_be_unpacked_is_said(
    tmp_path: Path, target: Path, make: Callable[[Path], Path]
) -> None:
    refused(make(tmp_path / "x"), target)


def test_unpacked_serves_a_folder_as_it_is(tmp_path: Path) -> None:
    with toolkit.unpacked(tmp_path, tmp_path / "scratch", silent) as content:
        assert content == tmp_path


def test_unpacked_sweeps_up(tmp_path: Path, target: Path) -> None:
    archive = tar(tmp_path / "x", *FILES)
    with toolkit.unpacked(archive, target, silent) as content:
        assert files(content) == dict(FILES)
    assert list(target.iterdir()) == []


def test_unpacked_says_what_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.tar does not exist") as caught:
        with toolkit.unpacked(tmp_path / "absent.tar", tmp_path, silent):
            pass
    assert caught.value.exit_code == 4


# ── decoding ────────────────────────────────────────────────────────────────────────────────


def photo(path: Path, form: str, mode: str = "RGB", size: tuple[int, int] = (30, 20)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, form)
    return path


def undecodable(path: Path, words: str | None = None) -> DataError:
    with pytest.raises(DataError, match=words) as caught:
        toolkit.decode_image(path)
    assert caught.value.exit_code == 4
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_image_becomes_rgb_bytes(tmp_path: Path, form: str, mode: str) -> None:
    image = toolkit.decode_image(photo(tmp_path / "x", form, mode))
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8


def test_a_png_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert np.array_equal(toolkit.decode_image(tmp_path / "x.png"), pixels)


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "LA"])
def test_other_modes_become_rgb_too(tmp_path: Path, mode: str) -> None:
    assert toolkit.decode_image(photo(tmp_path / "x.png", "PNG", mode)).shape == (20, 30, 3)


def test_text_by_the_name_of_a_picture_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("not a picture")
    error = undecodable(tmp_path / "x.jpg", "does not decode as an image")
    assert "nothing was changed" in error.message
    assert "remove that file" in error.hint


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_a_truncated_picture_is_said(tmp_path: Path, form: str, kept: float) -> None:
    path = photo(tmp_path / "x", form, size=(200, 200))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    undecodable(path, "does not decode as an image")


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused(tmp_path: Path, form: str) -> None:
    undecodable(photo(tmp_path / "x.jpg", form), "does not decode as an image")


def test_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo(tmp_path / "x.png", "PNG")
    monkeypatch.setattr(toolkit, "MAX_PIXELS", 600)
    toolkit.decode_image(path)
    monkeypatch.setattr(toolkit, "MAX_PIXELS", 599)
    undecodable(path, "30 × 20 pixels: too many")


def claims(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes that claims to be large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


def test_a_small_file_that_claims_many_pixels_is_refused(tmp_path: Path) -> None:
    undecodable(claims(tmp_path / "x.png", 8_000, 8_000), "8000 × 8000 pixels: too many")


def test_a_small_file_that_claims_very_many_pixels_is_refused(tmp_path: Path) -> None:
    undecodable(claims(tmp_path / "x.png", 20_000, 20_000))


def test_a_folder_by_the_name_of_a_picture_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    undecodable(tmp_path / "x.jpg", "does not decode as an image")


@given(st.data())
def test_a_damaged_picture_decodes_or_is_said(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7)).save(buffer, data.draw(st.sampled_from(["PNG", "JPEG"])))
    content = bytearray(buffer.getvalue())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[at] = data.draw(st.integers(0, 255))
    path = Path("damaged")
    path.write_bytes(content)
    with suppress(DataError):
        assert toolkit.decode_image(path).ndim == 3


# ── class folders ───────────────────────────────────────────────────────────────────────────


def test_class_files_come_by_class_and_name(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a/9.jpeg", "a/notes.txt", "c/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = toolkit.class_files(tmp_path, ("b", "a"))
    assert [(path.relative_to(tmp_path).as_posix(), label) for path, label in found] == [
        ("b/1.JPG", 0),
        ("b/2.png", 0),
        ("a/9.jpeg", 1),
    ]


def test_a_class_without_a_folder_or_image_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").touch()
    with pytest.raises(DataError, match="b is missing: every class needs a folder") as caught:
        toolkit.class_files(tmp_path, ("a", "b"))
    assert caught.value.exit_code == 4
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.gif").touch()
    with pytest.raises(DataError, match=r"b holds no image \(.jpg, .jpeg, .png\)") as caught:
        toolkit.class_files(tmp_path, ("a", "b"))
    assert caught.value.exit_code == 4


# ── fetching ────────────────────────────────────────────────────────────────────────────────

BODY = bytes(range(256)) * 16  # 4,096 bytes


class Server(http.server.ThreadingHTTPServer):
    """Serves one body under every name but `absent`."""

    body = BODY
    sent = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        for start in range(0, len(self.server.body), 1024):
            try:
                self.wfile.write(self.server.body[start : start + 1024])
            except OSError:
                return
            self.server.sent += 1024

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def source(server: Server, name: str = "x.bin", **changes: Any) -> Source:
    published = {
        "url": f"http://127.0.0.1:{server.server_port}/{name}",
        "checksum": f"sha256:{hashlib.sha256(server.body).hexdigest()}",
        "bytes": len(server.body),
    }
    return Source(**{**published, **changes})


def unfetched(published: Source, folder: Path, words: str) -> DataError:
    folder.mkdir(exist_ok=True)
    with pytest.raises(DataError, match=words) as caught:
        downloads.fetch(published, folder, silent)
    assert caught.value.exit_code == 4
    assert published.url in caught.value.message
    assert list(folder.iterdir()) == []
    return caught.value


def test_a_source_is_fetched(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    path = downloads.fetch(source(server), tmp_path, lambda *words: seen.append(words))
    assert path == tmp_path / "x.bin"
    assert path.read_bytes() == BODY
    assert seen[0][0] == "fetching"
    assert seen[-1] == ("fetching", len(BODY), len(BODY))


@pytest.mark.parametrize("size", [1, 1023, 1025, 4095])
def test_a_source_of_any_size_is_fetched(server: Server, tmp_path: Path, size: int) -> None:
    server.body = BODY[:size]
    assert downloads.fetch(source(server), tmp_path, silent).read_bytes() == BODY[:size]


def test_another_content_is_refused_and_deleted(server: Server, tmp_path: Path) -> None:
    error = unfetched(
        source(server, checksum=f"sha256:{'0' * 64}"),
        tmp_path / "to",
        r"not the published SHA-256 000000000000…",
    )
    assert "it was deleted" in error.message
    assert "--from PATH" in error.hint


def test_a_download_that_outgrows_its_size_is_stopped(server: Server, tmp_path: Path) -> None:
    server.body = bytes(20_000_000)
    published = source(server, bytes=4096)
    error = unfetched(published, tmp_path / "to", "larger than the published 4,096 bytes")
    assert "stopped and deleted" in error.message
    assert server.sent < len(server.body)


def test_what_is_not_there_is_said(server: Server, tmp_path: Path) -> None:
    error = unfetched(source(server, "absent"), tmp_path / "to", r"cannot be fetched \(HTTPError\)")
    assert "nothing was changed" in error.message
    assert "--from PATH" in error.hint


def test_a_server_that_is_not_there_is_said(server: Server, tmp_path: Path) -> None:
    published = source(server)
    server.shutdown()
    server.server_close()
    error = unfetched(published, tmp_path / "to", r"cannot be fetched \(ConnectionError\)")
    assert "--from PATH" in error.hint


def test_a_download_that_breaks_off_is_said(server: Server, tmp_path: Path) -> None:
    class Short(Handler):
        def send_header(self, keyword: str, value: str) -> None:
            super().send_header(keyword, "9999" if keyword == "Content-Length" else value)

    server.RequestHandlerClass = Short
    unfetched(source(server, bytes=9999), tmp_path / "to", "cannot be fetched")


@pytest.mark.parametrize(("kind", "shown"), [("sha256", "SHA-256"), ("md5", "MD5")])
def test_verify_tells_the_published_file_from_others(tmp_path: Path, kind: str, shown: str) -> None:
    checksum = f"{kind}:{hashlib.new(kind, BODY).hexdigest()}"
    (tmp_path / "x").write_bytes(BODY)
    published = Source("http://x/x", checksum, len(BODY))
    downloads.verify(tmp_path / "x", published)
    (tmp_path / "x").write_bytes(BODY[:-1])
    with pytest.raises(
        DataError, match=f"is not the published file: its {shown} [0-9a-f]{{12}}… is not"
    ) as caught:
        downloads.verify(tmp_path / "x", published)
    assert caught.value.exit_code == 4
    assert "nothing was changed" in caught.value.message
    assert "give the folder" in caught.value.hint


# ── arrays ──────────────────────────────────────────────────────────────────────────────────


def test_a_split_is_served_as_it_was_saved(tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    toolkit.save_split(tmp_path, "train", images, np.array([1, 0], np.int32))
    toolkit.save_split(tmp_path, "test", images[:, ::-1], np.array([0, 1]))
    splits = toolkit.load_splits(tmp_path)
    assert set(splits) == {"train", "test"}
    assert np.array_equal(splits["train"].image(1), images[1])
    assert np.array_equal(splits["test"].image(1), images[1, ::-1])
    assert splits["train"].labels.dtype == np.int64
    assert splits["train"].labels.tolist() == [1, 0]


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(lambda some: np.array(some))
FRACTIONS = st.floats(0, 1)


@given(LABELS, FRACTIONS, st.integers(0, 5))
def test_stratified_parts_all_in_order(
    labels: NDArray[np.int64], fraction: float, seed: int
) -> None:
    rest, part = toolkit.stratified(labels, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([rest, part])), np.arange(len(labels)))
    assert (np.diff(rest) > 0).all()
    assert (np.diff(part) > 0).all()


@given(LABELS, FRACTIONS, st.integers(0, 5))
def test_stratified_takes_the_same_share_of_each_class(
    labels: NDArray[np.int64], fraction: float, seed: int
) -> None:
    _, part = toolkit.stratified(labels, fraction, seed)
    for label in np.unique(labels):
        share = fraction * np.count_nonzero(labels == label)
        assert np.count_nonzero(labels[part] == label) == max(1, round(share))


@given(LABELS, FRACTIONS, st.integers(0, 5))
def test_stratified_is_the_same_every_time(
    labels: NDArray[np.int64], fraction: float, seed: int
) -> None:
    first = toolkit.stratified(labels, fraction, seed)
    again = toolkit.stratified(labels.copy(), fraction, seed)
    assert [one.tolist() for one in first] == [other.tolist() for other in again]


def test_stratified_draws_by_its_seed() -> None:
    labels = np.zeros(100, np.int64)
    parts = [tuple(toolkit.stratified(labels, 0.5, seed)[1]) for seed in range(3)]
    assert len(set(parts)) == 3
