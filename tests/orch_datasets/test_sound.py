"""Spectrograms against librosa, and every clip that is not what it claims."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from orch.errors import DataError
from orch_datasets import sound
from orch_datasets.sound import RATE, Spectrogram

TOLERANCE = 0.01  # decibels


def speech(seconds: float = 1.5, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A sweep with overtones between two silences, float32 in -1 … 1."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * k * (120 + 60 * time) * time) / k for k in range(1, 9))
    loud = tone * np.sin(np.pi * time / seconds) ** 2 + 0.01 * rng.normal(size=len(time))
    silence = 1e-4 * rng.normal(size=rate // 3)
    return (np.concatenate([silence, loud, silence]) / 4).astype(np.float32)


@pytest.mark.parametrize("window", [512, 1024, 2048])
@pytest.mark.parametrize("bands", [64, 128])
def test_mel_spectrograms_are_librosas(window: int, bands: int) -> None:
    import librosa

    wanted = Spectrogram(window=window, hop=window // 4, mel_bands=bands)
    clip = speech()
    theirs = librosa.feature.melspectrogram(
        y=clip, sr=RATE, n_fft=window, hop_length=window // 4, n_mels=bands
    )
    ours = sound.mel_power(clip, wanted)
    assert ours.shape == theirs.shape
    assert np.allclose(ours, theirs, rtol=1e-3, atol=1e-6 * theirs.max())
    expected = librosa.power_to_db(theirs, ref=np.max, top_db=80)
    assert np.abs(sound.decibels(ours, float(ours.max()), 80.0) - expected).max() < TOLERANCE
    fixed = librosa.power_to_db(theirs, ref=1000.0, top_db=None)
    assert np.abs(sound.decibels(ours, 1000.0, 80.0) - np.clip(fixed, -80, 0)).max() < TOLERANCE


@pytest.mark.parametrize("below", [20.0, 30.0, 60.0])
def test_trimming_is_librosas(below: float) -> None:
    import librosa

    clip = speech()
    expected, _ = librosa.effects.trim(clip, top_db=below)
    assert np.array_equal(sound.trimmed(clip, below), expected)
    assert len(expected) < len(clip)
    assert np.array_equal(sound.trimmed(clip, 0), clip)


def test_filters_are_librosas() -> None:
    import librosa

    expected = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=128)
    assert np.allclose(sound.mel_filters(1024, 128), expected, atol=1e-7)


def test_low_notes_are_below_and_time_runs_to_the_right() -> None:
    time = np.arange(RATE) / RATE
    low_then_high = np.where(time < 0.5, np.sin(2 * np.pi * 200 * time), np.sin(2e4 * time))
    image = sound.picture(sound.resampled(low_then_high.astype(np.float32), RATE), Spectrogram())
    assert image.dtype == np.uint8
    assert image.shape[0] == 128
    columns = image.shape[1]
    left, right = (image[:, at, 0].astype(int).argmax() for at in (columns // 4, 3 * columns // 4))
    assert left > 100
    assert right < 40


@settings(deadline=None, max_examples=30)
@given(
    length=st.integers(1, 5000),
    loud=st.sampled_from([0, 1, 3000, 32767]),
    colours=st.sampled_from(["grey", "magma"]),
)
def test_any_clip_becomes_a_picture(length: int, loud: int, colours: str) -> None:
    samples = np.random.default_rng(length).integers(-loud, loud + 1, length).astype(np.int16)
    image = sound.picture(samples, Spectrogram(colours=colours))
    assert image.dtype == np.uint8
    assert image.shape[0] == 128
    assert image.shape[1] >= 1
    assert image.shape[2] == 3


def test_loudness_is_seen_unless_each_clip_is_its_own_measure() -> None:
    loud, soft = (sound.resampled(speech() * factor, RATE) for factor in (1.0, 0.1))
    heard = [sound.picture(each, Spectrogram()).max() for each in (loud, soft)]
    assert heard[0] - heard[1] == pytest.approx(20 / 80 * 255, abs=2)
    levelled = [sound.picture(each, Spectrogram(level="clip")).max() for each in (loud, soft)]
    assert levelled == [255, 255]


def test_colours_are_matplotlibs() -> None:
    import matplotlib

    samples = sound.resampled(speech(), RATE)
    grey = sound.picture(samples, Spectrogram())[:, :, 0]
    expected = matplotlib.colormaps["magma"](grey, bytes=True)[:, :, :3]
    assert np.array_equal(sound.picture(samples, Spectrogram(colours="magma")), expected)


@pytest.mark.parametrize("rate", [48_000, 44_100, 22_050, 8_000])
def test_a_tone_keeps_its_pitch_and_level_at_another_rate(rate: int) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)).astype(np.float32)
    samples = sound.resampled(tone, rate)
    assert len(samples) == pytest.approx(RATE, abs=1)
    assert np.abs(np.fft.rfft(samples)).argmax() == pytest.approx(1000, abs=1)
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.5 * 32767, rel=0.01)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_clips_are_read_and_mixed_down(tmp_path: Path, suffix: str) -> None:
    both = np.stack([speech(), np.zeros_like(speech())], axis=1)
    soundfile.write(tmp_path / f"x.{suffix}", both, 48_000)
    samples, rate = sound.read_clip(tmp_path / f"x.{suffix}")
    assert rate == 48_000
    assert np.allclose(samples, both[:, 0] / 2, atol=1e-4)


# ── what is refused ─────────────────────────────────────────────────────────────────────────


def refused(path: Path, words: str) -> DataError:
    with pytest.raises(DataError, match=words) as caught:
        sound.read_clip(path)
    assert caught.value.exit_code == 4
    assert path.name in caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


def test_a_header_that_lies_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, speech(), RATE)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", 2_000_000_000)
    path.write_bytes(content)
    refused(path, "claims 2,000,000,044 bytes in its header and has")


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_truncated_clip_is_noticed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, speech(), RATE)
    path.write_bytes(path.read_bytes()[:-5000])
    refused(path, "claims|does not decode")


def test_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(0, np.int16), RATE)
    refused(path, "holds no samples")


def test_what_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_text("hello")
    refused(path, "does not decode as sound")
    refused(tmp_path / "absent.wav", "does not decode as sound")


def test_another_format_under_a_known_name(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.ogg", speech(), RATE)
    path = (tmp_path / "x.ogg").rename(tmp_path / "x.wav")
    refused(path, "is OGG, none of WAV, FLAC")


def test_too_slow_or_too_long(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(1000, np.int16), 4000)
    refused(path, "at 4,000 Hz: accepted are")
    soundfile.write(path, np.zeros(8000 * 121, np.int16), 8000)
    refused(path, "up to 120 s")


def test_a_rate_that_would_take_a_gigabyte_to_resample(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(400, np.int16), 1_000_003)
    refused(path, "at 1,000,003 Hz: accepted are 8,000 to 192,000 Hz")


def test_many_channels_are_mixed_as_they_are_read(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "x.flac"
    soundfile.write(path, np.zeros((96_000 * 20, 8), np.int16), 96_000)
    tracemalloc.start()
    samples, _ = sound.read_clip(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(samples) == 96_000 * 20
    assert most < 5 * samples.nbytes  # 8 channels at once would be 8 times
