from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from own_files import add, clip, own, picture

from orch import catalog, installing
from orch.contracts import FileReader
from orch.errors import DataError
from orch.home import Home
from orch.testing import silent
from orch_datasets.own import sounds

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two classes of tones in four formats, and a picture among them."""
    root = tmp_path / "clips"
    for name, hertz in (("low", 300), ("high", 3000)):
        for suffix in SUFFIXES:
            clip(root / name / f"x{suffix}", hertz, 44_100)
    picture(root / "low" / "cover.png")
    return root


def test_sounds_are_pictures_of_themselves(home: Home, clips: Path) -> None:
    installed = add(home, clips, "audio")
    assert (installed.classes, installed.splits) == (("high", "low"), {"train": (4, 4)})
    train = catalog.open_splits(home, "mine")["train"]
    loudest = [int(train.image(at)[:, :, 0].mean(axis=1).argmax()) for at in range(8)]
    assert max(loudest[:4]) < min(loudest[4:])  # high tones stand higher in the picture
    assert train.image(0).shape[0] == 128


def test_options_make_other_data_of_the_same_clips(home: Home, clips: Path) -> None:
    installed = add(home, clips, "audio")
    defaults = {option.name: option.default for option in sounds.Sounds.options}
    wanted = {**defaults, "mel_bands": 64}
    assert catalog.open_splits(home, "mine", wanted)["train"].image(0).shape[0] == 64
    digests = {catalog.digest(home, installed, chosen) for chosen in (defaults, wanted)}
    assert len(digests) == 2


def test_rates_and_lengths_may_differ(home: Home, tmp_path: Path) -> None:
    for at, rate in enumerate((8_000, 22_050, 48_000)):
        for name in "ab":
            clip(tmp_path / "x" / name / f"{at}.wav", 440, rate, 0.2 + at)
    add(home, tmp_path / "x", "audio")
    train = catalog.open_splits(home, "mine")["train"]
    widths = [train.image(at).shape[1] for at in range(3)]
    assert widths == sorted(widths)
    tops = {int(np.argmax(train.image(at)[:, 5, 0])) for at in range(3)}
    assert max(tops) - min(tops) <= 1  # the same tone at every rate


def test_a_clip_that_is_none_is_named_or_left_out(home: Home, clips: Path) -> None:
    (clips / "low" / "broken.wav").write_text("RIFF of nothing")
    with pytest.raises(DataError, match=r"the first is low/broken.wav: does not decode as sound"):
        add(home, clips, "audio")
    kept, omitted = installing.install_own(home, own(clips, "audio", skip_broken=True), silent)
    assert kept.splits == {"train": (4, 4)}
    assert [each.path for each in omitted] == ["low/broken.wav"]


def test_an_unseen_clip_is_read(home: Home, clips: Path, tmp_path: Path) -> None:
    add(home, clips, "audio")
    dataset = catalog.load(home, "mine", {"mel_bands": 32})
    assert isinstance(dataset, FileReader)
    assert dataset.read(clip(tmp_path / "new.flac", 500)).shape[0] == 32


def test_pictures_alone_are_no_sounds(home: Home, tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / "x" / name / "0.png")
    with pytest.raises(DataError, match="holds no examples in class folders"):
        add(home, tmp_path / "x", "audio")
