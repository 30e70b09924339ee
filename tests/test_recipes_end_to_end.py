"""Recipes as a stranger runs them: the installed script, Ray, real images and real speech."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.real_data, pytest.mark.timeout(600)]


@pytest.fixture
def ran(orch_script: str, tmp_path: Path) -> Callable[..., Any]:
    """Run the installed script to its end, in a folder and a home of its own."""

    def run(*words: str) -> Any:
        done = subprocess.run(
            [orch_script, *words],
            cwd=tmp_path,
            env=dict(os.environ),
            capture_output=True,
            text=True,
        )
        return done

    return run


def test_a_recipe_is_reproduced_and_its_network_used(ran, real_data: Path, tmp_path: Path) -> None:
    source = real_data / "cats_vs_dogs.tar"
    assert ran("datasets", "add", "cats-vs-dogs", "--from", str(source)).returncode == 0
    weights = str(real_data / "vgg16_notop.weights.h5")
    assert ran("backbones", "add", "vgg16", "--from", weights).returncode == 0
    words = ("reproduce", "cats-vs-dogs/fine-tune", "--limit", "120", "--epochs", "2")
    done = ran(*words, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["reported_accuracy"] == 0.9413
    assert document["ours"] >= 0.7
    assert document["differences"] == [
        f"data: a copy added from {source}",
        "trained on 86 examples, the author on 2,000",
        "limit: 120 examples in all",
        "epochs: 2 instead of 20",
        "head_epochs: 2 instead of 15",
    ]
    trial = document["trial"]["id"]
    epochs = json.loads(ran("trials", "show", trial, "--json").stdout)["epochs"]
    assert [each["stage"] for each in epochs] == [1, 1, 2, 2]

    with tarfile.open(source) as archive:
        members = archive.getnames()
        name = next(each for each in members if "/validation/cats/" in each)
        archive.extract(name, tmp_path, filter="data")
    (tmp_path / "broken.jpg").write_text("no picture")
    done = ran("predict", trial[:6], name, "broken.jpg", "--json")
    assert done.returncode == 4
    assert "broken.jpg does not decode as an image" in done.stderr
    (found,) = json.loads(done.stdout)["predictions"]
    assert found["file"] == name
    assert set(found["probabilities"]) == {"cat", "dog"}

    done = ran("evaluate", trial[:6], "--json")
    assert json.loads(done.stdout)["accuracy"] == pytest.approx(document["ours"])
    done = ran("recipes")
    assert done.returncode == 0
    assert "93.25 % last" in done.stdout


def test_results_of_different_splits_never_share_a_board(ran, real_data: Path) -> None:
    source = str(real_data / "ravdess.tar")
    assert ran("datasets", "add", "ravdess", "--from", source).returncode == 0
    weights = str(real_data / "vgg16_notop.weights.h5")
    assert ran("backbones", "add", "vgg16", "--from", weights).returncode == 0
    common = ["--strategy", "feature-extraction", "--trials", "1", "--limit", "60",
              "-S", "image_size=32", "-S", "epochs=1", "-S", "batch_size=8"]  # fmt: skip
    for split in ("actor", "random"):
        done = ran("sweep", "ravdess", "--split", split, *common)
        assert done.returncode == 0, done.stderr
    rows = json.loads(ran("leaderboard", "ravdess", "--json").stdout)["rows"]
    assert [row["rank"] for row in rows] == [1, 1]
    assert len({row["board"] for row in rows}) == 2
    assert {row["dataset_options"]["split"] for row in rows} == {"actor", "random"}
    shown = ran("leaderboard", "ravdess").stdout
    assert "ravdess, 60 examples" in shown
    assert "ravdess, split=random, 60 examples" in shown


def test_a_recipe_without_its_data_says_what_to_download(ran) -> None:
    done = ran("reproduce", "pokemon/transfer")
    assert done.returncode == 4
    assert "cannot be fetched without a login: https://www.kaggle.com/" in done.stderr
    assert "orch datasets add pokemon --from archive.zip" in done.stderr
