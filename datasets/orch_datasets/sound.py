"""Sound as pictures: reading clips, and mel spectrograms that a network for images can see.

The arithmetic is librosa's (McFee et al., "librosa: Audio and Music Signal Analysis in Python",
2015), which the tests compare it with; doing it here saves its large dependencies.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from orch.contracts import Choice, Int, Option, Uniform
from orch.errors import DataError

RATE = 16_000  # samples a second of every clip that is kept
RATES = (8_000, 192_000)  # of files that are read
MAX_SECONDS = 120
BLOCK = 1 << 20  # samples, of all channels together, that are decoded at a time
SUFFIXES = (".wav", ".flac")
FORMATS = ("WAV", "WAVEX", "FLAC")
FULL_SCALE = 30.0  # decibels over a mel power of 1; the loudest clip of RAVDESS reaches 29.4
TRIM_FRAME, TRIM_HOP = 2048, 512  # samples, as librosa.effects.trim takes them

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Spectrogram:
    """How a clip becomes a picture.

    Silence more than `trim` decibels below the loudest moment is cut off at both ends (0 cuts
    nothing); `mel_bands` is the height in pixels; a column is computed from `window` samples,
    every `hop` samples; `decibels` is the range from black to white. White is the level
    FULL_SCALE, the same for all clips, so that loudness is seen, or with `level` "clip" the
    loudest moment of each. `colours` is "grey" or a colour map of matplotlib.
    """

    trim: float = 30.0
    mel_bands: int = 128
    window: int = 1024
    hop: int = 256
    decibels: float = 80.0
    level: str = "fixed"
    colours: str = "grey"


DEFAULT = Spectrogram()
OPTIONS = (
    Option("trim", DEFAULT.trim, Uniform(0, 120), "decibels under the loudest that are silence"),
    Option("mel_bands", DEFAULT.mel_bands, Int(16, 512), "height of the spectrogram in pixels"),
    Option("window", DEFAULT.window, Choice((256, 512, 1024, 2048, 4096)), "samples of a column"),
    Option("hop", DEFAULT.hop, Int(16, 4096), "samples from column to column"),
    Option(
        "level",
        DEFAULT.level,
        Choice(("fixed", "clip")),
        "what is white: one level for all, so that loudness is seen, or each clip's loudest",
    ),
    Option("decibels", DEFAULT.decibels, Uniform(10, 200), "range from black to white"),
    Option(
        "colours",
        DEFAULT.colours,
        Choice(("grey", "magma", "viridis", "inferno", "jet")),
        "colour map of the spectrogram",
    ),
)
"""What a dataset of sounds leaves to its user: the fields of a spectrogram."""


# ── reading ─────────────────────────────────────────────────────────────────────────────────


def read_clip(path: Path, formats: tuple[str, ...] = FORMATS) -> tuple[NDArray[np.float32], int]:
    """Read a sound file: mono samples in -1 … 1, float32 (n,), and its rate in hertz.

    `formats` are those of libsndfile that are read.

    Raises:
        DataError: it does not decode, is empty, too long, or not what its header says.
    """
    import soundfile

    try:
        _check_header(path)
        with soundfile.SoundFile(path) as file:
            _check_clip(path, file, formats)
            rows = max(1, BLOCK // file.channels)
            blocks = file.blocks(rows, dtype="float32", always_2d=True)
            mono = [block.mean(axis=1) for block in blocks]
            rate, claimed = file.samplerate, file.frames
    except (soundfile.SoundFileError, OSError, struct.error) as error:
        raise DataError(
            f"{path} does not decode as sound ({error}); nothing was changed",
            "repair or remove that file, then run the same command again",
        ) from error
    if not claimed:
        raise DataError(f"{path} holds no samples; nothing was changed", "remove that file")
    samples = np.concatenate(mono) if mono else np.zeros(0, np.float32)
    if len(samples) != claimed:
        raise DataError(
            f"{path} claims {claimed:,} samples and has {len(samples):,}; nothing was changed",
            "fetch that file again, or remove it",
        )
    return samples, rate


def _check_clip(path: Path, file: Any, formats: tuple[str, ...]) -> None:
    """Refuse another format, and what would take too long or too much memory to decode."""
    if file.format not in formats:
        read = ", ".join(name for name in formats if name != "WAVEX")
        raise DataError(f"{path} is {file.format}, none of {read}")
    low, high = RATES
    if not low <= file.samplerate <= high or file.frames > MAX_SECONDS * file.samplerate:
        raise DataError(
            f"{path} has {file.frames:,} samples at {file.samplerate:,} Hz: accepted are "
            f"{low:,} to {high:,} Hz and up to {MAX_SECONDS} s"
        )


def _check_header(path: Path) -> None:
    """Make sure that a WAV file has the bytes that its header claims: libsndfile does not."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return
        file.seek(12)
        claimed = _end_of_data(file)
    if claimed > size:
        raise DataError(
            f"{path} claims {claimed:,} bytes in its header and has {size:,}; nothing was changed",
            "fetch that file again, or remove it",
        )


def _end_of_data(file: IO[bytes]) -> int:
    while header := file.read(8):
        name, length = struct.unpack("<4sI", header)
        if name == b"data":
            return file.tell() + length
        file.seek(length + length % 2, 1)
    return 0


def resampled(samples: NDArray[np.float32], rate: int) -> Samples:
    """Samples at another rate as int16 (n,) at RATE."""
    if rate != RATE:
        from scipy.signal import resample_poly

        shared = math.gcd(rate, RATE)
        samples = resample_poly(samples, RATE // shared, rate // shared)
    return np.clip(np.rint(samples * 32767.0), -32768, 32767).astype(np.int16)


# ── pictures ────────────────────────────────────────────────────────────────────────────────


def picture(samples: Samples, wanted: Spectrogram) -> NDArray[np.uint8]:
    """A clip as uint8 (mel_bands, columns, 3): time to the right, low frequencies below."""
    heard = trimmed(samples.astype(np.float32) / 32767.0, wanted.trim)
    power = mel_power(heard, wanted)
    white = 10 ** (FULL_SCALE / 10) if wanted.level == "fixed" else float(power.max())
    level = decibels(power, white, wanted.decibels)
    shade = np.rint((level / wanted.decibels + 1) * 255).astype(np.uint8)[::-1]
    return _colours(wanted.colours)[shade]


def trimmed(samples: NDArray[np.float32], below: float) -> NDArray[np.float32]:
    """Cut off both ends where they are more than `below` decibels under the loudest frame."""
    if not below:
        return samples
    power = np.mean(_frames(samples, TRIM_FRAME, TRIM_HOP) ** 2, axis=1)
    loud = np.flatnonzero(
        10 * np.log10(np.maximum(power, 1e-10) / max(power.max(), 1e-10)) > -below
    )
    return samples[loud[0] * TRIM_HOP : (loud[-1] + 1) * TRIM_HOP]


def mel_power(samples: NDArray[np.float32], wanted: Spectrogram) -> NDArray[np.float32]:
    """The power in each mel band, float32 (mel_bands, columns)."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(wanted.window) / wanted.window)
    frames = _frames(samples, wanted.window, wanted.hop) * hann.astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    return (mel_filters(wanted.window, wanted.mel_bands) @ power.T).astype(np.float32)


def decibels(power: NDArray[np.float32], white: float, depth: float) -> NDArray[np.float32]:
    """Power in decibels under `white`, from 0 to `depth` under it."""
    level = 10 * np.log10(np.maximum(power, 1e-10) / max(white, 1e-10))
    return np.clip(level, -depth, 0.0)


def _frames(samples: NDArray[np.float32], length: int, hop: int) -> NDArray[np.float32]:
    """Overlapping frames (n, length), the first centred on the first sample."""
    padded = np.pad(samples, length // 2)
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]


@lru_cache
def mel_filters(window: int, bands: int) -> NDArray[np.float64]:
    """Triangular filters of equal area on Slaney's mel scale, (bands, window // 2 + 1)."""
    edges = _hertz(np.linspace(0, _mel(RATE / 2), bands + 2))
    bins = np.fft.rfftfreq(window, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    area = 2 / (edges[2:] - edges[:-2])
    return np.maximum(0, np.minimum(rising, falling)) * area[:, None]


def _mel(hertz: float) -> float:
    """Slaney's scale (Auditory Toolbox, 1998): linear to 1000 Hz, then logarithmic."""
    return 15 + math.log(hertz / 1000) * 27 / math.log(6.4) if hertz > 1000 else hertz * 3 / 200


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel > 15, 1000 * 6.4 ** ((mel - 15) / 27), mel * 200 / 3)


@lru_cache
def _colours(name: str) -> NDArray[np.uint8]:
    """256 colours from dark to bright, uint8 (256, 3)."""
    steps = np.arange(256, dtype=np.uint8)
    if name == "grey":
        return np.repeat(steps[:, None], 3, axis=1)
    import matplotlib

    return np.asarray(matplotlib.colormaps[name](steps, bytes=True), np.uint8)[:, :3]
