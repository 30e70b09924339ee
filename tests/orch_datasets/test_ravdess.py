"""RAVDESS: its layouts, its two ways to be split, and every clip that is wrong."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

from orch import catalog, installing, registry, search_space
from orch.contracts import Split
from orch.errors import DataError, UsageError
from orch.home import Home
from orch.testing import DatasetContract, silent
from orch_datasets import ravdess
from orch_datasets.ravdess import FOLDS, Ravdess

ACTORS = (1, 2, 3, 10, 23)


def clip(folder: Path, emotion: int, actor: int, suffix: str, take: int = 1) -> Path:
    """Write a quarter of a second of a tone that depends on emotion and actor."""
    rate = 48_000 if suffix == "wav" else 16_000
    place = folder / f"Actor_{actor:02}" / f"03-01-{emotion:02}-01-01-{take:02}-{actor:02}.{suffix}"
    place.parent.mkdir(parents=True, exist_ok=True)
    pitch = 200 * emotion + 5 * actor
    soundfile.write(place, 0.5 * np.sin(2 * np.pi * pitch * np.arange(rate // 4) / rate), rate)
    return place


def tiny(folder: Path, suffix: str) -> Path:
    for actor in ACTORS:
        for emotion in range(1, 9):
            clip(folder, emotion, actor, suffix)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "own")


class TestPublishedLayout(DatasetContract):
    name = "ravdess"

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tiny(tmp_path_factory.mktemp("wav"), "wav")
        archive = folder / "speech.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            for path in sorted(folder.rglob("*.wav")):
                packed.write(path, path.relative_to(folder))
        return archive


class TestReducedLayout(DatasetContract):
    name = "ravdess"

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tiny(tmp_path_factory.mktemp("flac") / "ravdess", "flac").parent


@pytest.mark.real_data
class TestRealClips(DatasetContract):
    name = "ravdess"

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        import tarfile

        folder = tmp_path_factory.mktemp("real")
        with tarfile.open(real_data / "ravdess.tar") as archive:
            names = [n for n in archive.getnames() if "Actor_01" in n or "Actor_02" in n]
            archive.extractall(folder, [archive.getmember(name) for name in names], filter="data")
        return folder


def actors_of(splits: Mapping[str, Split], folder: Path) -> dict[str, set[int]]:
    actors = np.load(folder / "actors.npy")
    return {name: set(actors[split.rows].tolist()) for name, split in splits.items()}


def installed(home: Home, source: Path) -> Path:
    return catalog.content(home, installing.install(home, "ravdess", source, silent))


def test_no_actor_is_heard_on_both_sides(home: Home, tmp_path: Path) -> None:
    folder = installed(home, tiny(tmp_path / "x", "flac"))
    for fold in range(5):
        held = set(FOLDS[fold]) & set(ACTORS)
        if not held:
            continue
        found = actors_of(Ravdess(fold=fold).open(folder), folder)
        assert found["validation"] == held
        assert found["train"] == set(ACTORS) - held


def test_the_folds_divide_all_actors() -> None:
    assert sorted(actor for fold in FOLDS for actor in fold) == list(range(1, 25))


def test_at_random_every_emotion_is_on_both_sides(home: Home, tmp_path: Path) -> None:
    folder = installed(home, tiny(tmp_path / "x", "flac"))
    splits = Ravdess(split="random").open(folder)
    assert len(splits["train"].labels) == 32
    assert splits["validation"].labels.tolist() == list(range(8))
    rows = np.concatenate([split.rows for split in splits.values()])
    assert sorted(rows.tolist()) == list(range(40))


def test_options_are_part_of_the_digest(home: Home, tmp_path: Path) -> None:
    there = installing.install(home, "ravdess", tiny(tmp_path / "x", "flac"), silent)
    defaults = {option.name: option.default for option in Ravdess.facts.options}
    digests = {
        catalog.digest(home, there, {**defaults, **changed})
        for changed in ({}, {"split": "random"}, {"fold": 1}, {"mel_bands": 64}, {"trim": 0})
    }
    assert len(digests) == 5
    assert there.digest not in digests


def test_options_change_the_pictures(home: Home, tmp_path: Path) -> None:
    folder = installed(home, tiny(tmp_path / "x", "flac"))
    shapes = {
        Ravdess(mel_bands=bands, hop=hop).open(folder)["train"].image(0).shape[:2]
        for bands, hop in ((128, 256), (64, 256), (64, 64))
    }
    assert len(shapes) == 3
    assert all(option.default == getattr(Ravdess(), option.name) for option in ravdess.OPTIONS)


def test_both_layouts_of_a_clip_look_alike(tmp_path: Path) -> None:
    """48 kHz WAV and 16 kHz FLAC of one tone give nearly the same picture."""
    wav, flac = (clip(tmp_path / kind, 3, 1, kind) for kind in ("wav", "flac"))
    one, other = (Ravdess().read(path).astype(int) for path in (wav, flac))
    assert one.shape == other.shape
    assert np.abs(one - other)[:, 2:-2].mean() < 4


def test_a_file_is_seen_as_the_example_it_was(home: Home, tmp_path: Path) -> None:
    source = tiny(tmp_path / "x", "flac")
    split = Ravdess(split="random").open(installed(home, source))["train"]
    first = sorted(source.rglob("*.flac"), key=lambda path: path.name)[int(split.rows[0])]
    assert np.array_equal(Ravdess().read(first), split.image(0))


def test_songs_and_second_copies_are_left_out(home: Home, tmp_path: Path) -> None:
    source = tiny(tmp_path / "x", "flac")
    clip(source / "copy", 1, 1, "flac")
    clip(source / "copy", 1, 1, "wav")  # the same clip at another rate
    song = clip(source, 1, 1, "flac", take=2)
    song.rename(song.with_name(song.name.replace("03-01", "03-02")))
    there = installing.install(home, "ravdess", source, silent)
    assert sum(map(sum, there.splits.values())) == 40


# ── what is refused ─────────────────────────────────────────────────────────────────────────


def refused(home: Home, source: Path | None, words: str) -> DataError:
    with pytest.raises(DataError, match=words) as caught:
        installing.install(home, "ravdess", source, silent)
    assert caught.value.exit_code == 4
    assert "\n" not in caught.value.message
    assert catalog.find(home, "ravdess") is None
    return caught.value


def test_no_clips(home: Home, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    error = refused(home, tmp_path / "x", "holds no clip")
    assert "orch datasets add ravdess --from PATH" in error.hint


def test_an_unknown_emotion(home: Home, tmp_path: Path) -> None:
    source = tiny(tmp_path / "x", "flac")
    clip(source, 9, 1, "flac")
    refused(home, source, r"03-01-09-01-01-01-01\.flac has the unknown emotion 09")


def test_a_name_that_is_not_of_ravdess(home: Home, tmp_path: Path) -> None:
    source = tiny(tmp_path / "x", "flac")
    next(source.rglob("*.flac")).rename(source / "hello.flac")
    refused(home, source, "hello.flac is not named as RAVDESS names its clips")


def test_mixed_rates(home: Home, tmp_path: Path) -> None:
    source = tiny(tmp_path / "x", "flac")
    soundfile.write(clip(source, 1, 1, "flac", take=2), np.zeros(999), 44_100)
    refused(home, source, "has 44,100 Hz, the clips before it 16,000")


def test_a_clip_without_samples(home: Home, tmp_path: Path) -> None:
    source = tiny(tmp_path / "x", "wav")
    soundfile.write(clip(source, 1, 1, "wav", take=2), np.zeros(0), 48_000)
    refused(home, source, r"01-02-01\.wav holds no samples")


def test_an_emotion_with_one_clip(home: Home, tmp_path: Path) -> None:
    source = tiny(tmp_path / "x", "flac")
    for actor in ACTORS[1:]:
        clip(source, 8, actor, "flac").unlink()
    refused(home, source, "the class 'surprised' has 1 of the 2 examples that it takes")


def test_actors_on_one_side_only(home: Home, tmp_path: Path) -> None:
    for emotion in range(1, 9):
        clip(tmp_path / "x", emotion, 2, "flac")
        clip(tmp_path / "x", emotion, 2, "flac", take=2)
    error = refused(home, tmp_path / "x", "all by actors on one side of fold 0")
    assert "--split random" in error.hint


def test_the_published_archive_is_checked_by_its_md5(home: Home, tmp_path: Path) -> None:
    archive = tmp_path / "Audio_Speech_Actors_01-24.zip"
    archive.write_bytes(b"something else")
    refused(home, archive, "is not the published file: its MD5 [0-9a-f]{12}… is not bc696df654c8")


def test_an_option_out_of_range_is_said(orch) -> None:
    ran = orch("sweep", "ravdess", "--split", "speaker")
    assert ran.code == 2
    assert "split=speaker is not possible: choice(actor,random) is allowed" in ran.err
    ran = orch("sweep", "ravdess", "-D", "mels=3")
    assert ran.code == 2
    assert "ravdess has no option 'mels'" in ran.err
    ran = orch("sweep", "digits", "--split", "random")
    assert ran.code == 2
    assert "digits has no option 'split'" in ran.err


def test_the_same_choice_is_written_in_one_way() -> None:
    facts = Ravdess.facts
    assert search_space.options(facts, {"trim": "30"}) == search_space.options(facts, {})
    assert "fold" not in search_space.options(facts, {"split": "random"})
    with pytest.raises(UsageError, match="the option fold has no effect here") as caught:
        search_space.options(facts, {"split": "random", "fold": "2"})
    assert "split=actor" in caught.value.hint


def test_clips_of_one_fold_can_be_added_for_a_random_split(orch, tmp_path: Path) -> None:
    for emotion in range(1, 9):
        clip(tmp_path / "x", emotion, 2, "flac")
        clip(tmp_path / "x", emotion, 2, "flac", take=2)
    ran = orch("datasets", "add", "ravdess", "--from", str(tmp_path / "x"), "--split", "random")
    assert ran.code == 0, ran.err
    assert "train 8, validation 8" in ran.err


def test_facts_carry_recipes_and_options() -> None:
    facts = registry.load_dataset("ravdess").facts
    assert {recipe.name for recipe in facts.recipes} == {
        "feature-extraction",
        "fine-tune",
        "fine-tune-augmented",
    }
