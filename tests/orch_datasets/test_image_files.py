"""Datasets that keep image files: cats-vs-dogs and pokemon, in each layout they come in."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orch import catalog, installing
from orch.errors import DataError
from orch.home import Home
from orch.testing import DatasetContract, silent
from orch_datasets.pokemon import Pokemon


def draw(path: Path, shade: int) -> None:
    """Write a JPEG of one grey and of a size that depends on it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20 + shade % 7, 30, 3), shade, np.uint8)).save(path)


def folders_of_animals(root: Path) -> Path:
    for split, numbers in {"train": range(6), "validation": range(6, 8)}.items():
        for animal in ("cat", "dog"):
            for number in numbers:
                shade = number + (100 if animal == "dog" else 0)
                draw(root / "cats_vs_dogs" / split / f"{animal}s" / f"{animal}.{number}.jpg", shade)
    return root


def flat_animals(root: Path) -> Path:
    for animal in ("cat", "dog"):
        for number in (0, 1, 999, 1000, 1399, 1400, 12499):
            draw(root / "train" / f"{animal}.{number}.jpg", number % 200)
    return root


def pictures_of_pokemon(root: Path) -> Path:
    for position, name in enumerate(Pokemon.facts.classes):
        for number in range(10):
            draw(root / "pokemon" / name / f"{number:08}.jpg", position * 40 + number)
    return root


class TestCatsVsDogs(DatasetContract):
    name = "cats-vs-dogs"

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return folders_of_animals(tmp_path_factory.mktemp("animals"))


class TestFlatCatsVsDogs(DatasetContract):
    name = "cats-vs-dogs"

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = flat_animals(tmp_path_factory.mktemp("flat"))
        archive = folder / "train.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            for path in sorted((folder / "train").iterdir()):
                packed.write(path, f"train/{path.name}")
        return archive


class TestPokemon(DatasetContract):
    name = "pokemon"

    @pytest.fixture(scope="class")
    @classmethod
    def source(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = pictures_of_pokemon(tmp_path_factory.mktemp("pictures"))
        archive = folder / "pokemon.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(folder / "pokemon", "pokemon")
        return archive


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_flat_layout_takes_the_numbers_of_the_walk_through(home: Home, tmp_path: Path) -> None:
    installed = installing.install(home, "cats-vs-dogs", flat_animals(tmp_path / "flat"), silent)
    assert installed.splits == {"train": (3, 3), "validation": (2, 2)}
    folder = catalog.content(home, installed)
    names = {path.name for path in (folder / "validation").rglob("*.jpg")}
    assert names == {
        f"{animal}.{number}.jpg" for animal in ("cat", "dog") for number in (1000, 1399)
    }


def test_pokemon_are_divided_four_to_one_in_each_class(home: Home, tmp_path: Path) -> None:
    source = pictures_of_pokemon(tmp_path / "pictures")
    installed = installing.install(home, "pokemon", source, silent)
    assert installed.splits == {"train": (8,) * 5, "validation": (2,) * 5}
    splits = catalog.open_splits(home, "pokemon")
    seen = {
        name: {path.parent.name + path.name for path in split.paths}
        for name, split in splits.items()
    }  # type: ignore[attr-defined]
    assert not seen["train"] & seen["validation"]


@pytest.mark.parametrize("name", ["cats-vs-dogs", "pokemon"])
def test_what_needs_a_login_says_what_to_download(orch, name: str) -> None:
    ran = orch("sweep", name)
    assert ran.code == 4
    assert "cannot be fetched without a login: https://www.kaggle.com" in ran.err
    assert f"orch datasets add {name} --from" in ran.err


def test_another_folder_is_not_cats_vs_dogs(home: Home, tmp_path: Path) -> None:
    source = pictures_of_pokemon(tmp_path / "pictures")
    with pytest.raises(DataError, match="holds neither train/cats") as caught:
        installing.install(home, "cats-vs-dogs", source, silent)
    assert caught.value.exit_code == 4


def test_a_missing_pokemon_is_named(home: Home, tmp_path: Path) -> None:
    source = pictures_of_pokemon(tmp_path / "pictures")
    (source / "pokemon" / "Mewtwo").rename(source / "pokemon" / "Mew")
    with pytest.raises(DataError, match="Mewtwo is missing"):
        installing.install(home, "pokemon", source, silent)


@pytest.mark.parametrize("count", [0, 1])
def test_a_pokemon_with_too_few_pictures_is_named(home: Home, tmp_path: Path, count: int) -> None:
    source = pictures_of_pokemon(tmp_path / "pictures")
    for path in sorted((source / "pokemon" / "Mewtwo").iterdir())[count:]:
        path.unlink()
    words = "Mewtwo holds no image|'Mewtwo' has 1 of the 2 examples that it takes"
    with pytest.raises(DataError, match=words) as caught:
        installing.install(home, "pokemon", source, silent)
    assert caught.value.exit_code == 4
    assert catalog.find(home, "pokemon") is None


def test_a_picture_that_does_not_decode_is_named(home: Home, tmp_path: Path) -> None:
    source = folders_of_animals(tmp_path / "animals")
    broken = source / "cats_vs_dogs" / "train" / "dogs" / "dog.3.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(DataError, match=r"dogs/dog\.3\.jpg does not decode"):
        installing.install(home, "cats-vs-dogs", source, silent)
    assert catalog.find(home, "cats-vs-dogs") is None


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "archive", "counts"),
    [
        ("cats-vs-dogs", "cats_vs_dogs.tar", {"train": (1000,) * 2, "validation": (400,) * 2}),
        (
            "pokemon",
            "pokemon.tar",
            {"train": (155, 176, 177, 187, 154), "validation": (39, 44, 44, 47, 38)},
        ),
    ],
)
def test_the_real_images(
    home: Home, real_data: Path, name: str, archive: str, counts: dict[str, tuple[int, ...]]
) -> None:
    installed = installing.install(home, name, real_data / archive, silent)
    assert installed.splits == counts
