"""Backbones by entry point: those that come with orch, a stranger's, and wrong ones."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from digit_trials import keeping, losses, run, spec

from orch import registry
from orch.checks import backbones as backbone_checks
from orch.contracts import Backbone, Shipped, Source
from orch.errors import DataError, NotFoundError, PluginError
from orch.home import Home
from orch.testing import BackboneContract, silent
from orch.training import backbones, cuts, inference, models, weight_files
from orch.training.applications import APPLICATIONS
from orch.training.warm import NetworkShape
from orch.training.workbench import Keeping, Workbench
from orch.trials import TrialSpec

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent.parent
FOREIGN = TESTS / "foreign"


@pytest.fixture(autouse=True, scope="module")
def _installed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOREIGN)
        registry.forget()
        yield
    registry.forget()


@pytest.fixture(scope="module")
def weight_file(_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, the same in every run, as the stranger publishes them."""
    network = backbones.build("foreign-net", (48, 48))
    rng = np.random.default_rng(0)
    network.set_weights(
        [np.abs(rng.normal(0.3, 0.2, each.shape)).astype("f") for each in network.get_weights()]
    )
    file = tmp_path_factory.mktemp("published") / "net.weights.h5"
    network.save_weights(file)
    return file


def foreign(home: Home, weight_file: Path, name: str = "foreign-net", **params: Any) -> TrialSpec:
    """A trial on the stranger's network, whose weights are added."""
    weights = backbones.find_weights(home, name) or backbones.add_weights(home, name, weight_file)
    return replace(spec(home, **params), backbone=name, weights_digest=weights.digest)


class TestForeign(BackboneContract):
    name = "foreign-net"


class TestVggMini(BackboneContract):
    name = "vgg-mini"


@pytest.mark.slow
class TestMobileNet(BackboneContract):
    name = "mobilenetv2"


@pytest.mark.slow
class TestConvNeXt(BackboneContract):
    """Its blocks end in additions that are no layers."""

    name = "convnexttiny"


# ── those that come with orch ───────────────────────────────────────────────────────────────


def test_those_that_come_with_orch_come_through_the_same_door() -> None:
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]
    named = project["entry-points"][registry.BACKBONES]
    assert set(named) == {"vgg-mini", *APPLICATIONS}
    assert set(named) <= set(registry.backbone_names())
    for name in named:
        assert isinstance(registry.load_backbone(name), Backbone)
        backbone_checks.facts(name)
    assert backbones.names()[0] == "vgg-mini"


# ── a stranger's network ────────────────────────────────────────────────────────────────────


def test_cuts_are_between_blocks_only(home: Home) -> None:
    facts = backbones.describe(home, "foreign-net")
    assert [layer.name for layer in facts.layers] == [
        *("input", "stem", "scaled", "norm", "relu", "down", "end")
    ]
    assert facts.cuts == (0, 2, 5, 7), "the block's addition reads what is before it too"
    assert facts.stages == (0, 5, 7)
    assert not any(layer.random for layer in facts.layers)


def test_a_layer_that_is_random_inside_stops_the_cut(home: Home) -> None:
    facts = backbones.describe(home, "random-net")
    assert [layer.name for layer in facts.layers if layer.random] == ["noisy"]
    cut = cuts.choose(facts, len(facts.layers))
    assert (cut.layers, cut.reason) == (2, "the layer noisy after it is random")
    backbone_checks.cutting("random-net")


def test_a_network_inside_a_network_is_one_layer(home: Home) -> None:
    facts = backbones.describe(home, "nested-net")
    assert [layer.name for layer in facts.layers] == ["input", "first", "second"]
    assert facts.cuts == (0, 2, 3)
    for check in backbone_checks.BY_NAME.values():
        check("nested-net")


@pytest.mark.parametrize(("depth", "cut"), [(2, "stem"), (3, "stem"), (5, "relu"), (7, "end")])
def test_a_trial_is_the_same_with_and_without_stored_features(
    home: Home, weight_file: Path, depth: int, cut: str
) -> None:
    wanted = foreign(home, weight_file, frozen_layers=depth, image_size=48, start="random")
    stored = run(wanted, Workbench(home))
    without = run(wanted, Workbench(home, Keeping(features=False)))
    assert (stored[0].failure, without[0].failure) == (None, None)
    assert (stored[0].cut, without[0].cut) == (cut, "none")
    assert losses(stored[1]) == pytest.approx(losses(without[1]), rel=1e-5)


def test_its_network_predicts_and_the_exported_model_loads(
    home: Home, weight_file: Path, tmp_path: Path
) -> None:
    wanted = keeping(foreign(home, weight_file, frozen_layers=5, image_size=48, epochs=3), 41)
    outcome, reports = run(wanted, Workbench(home))
    assert outcome.failure is None, outcome.failure
    loaded = inference.load(wanted, outcome.plan, Workbench(home))
    labels, chances = inference.judge(loaded, "validation")
    best = max(each.metrics["val_accuracy"] for each in reports)
    assert (chances.argmax(axis=1) == labels).mean() == pytest.approx(best)
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    expected = inference.predict(loaded, list(images))
    loaded.model.save(tmp_path / "model.keras")
    again: Any = keras.models.load_model(tmp_path / "model.keras")
    assert np.allclose(again.predict_on_batch(images), expected, atol=1e-6)


def test_its_preprocessing_is_part_of_what_is_stored(home: Home, weight_file: Path) -> None:
    wanted = foreign(home, weight_file)
    network = Workbench(home).network(NetworkShape("foreign-net", (48, 48), wanted.weights_digest))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    facts = backbones.describe(home, "foreign-net")
    plan = backbone_checks.Plan(backbone_checks.ImageInput((48, 48)), backbone_checks.Head(), ())
    before = models.between(network, "foreign-net", plan, 0, backbone_checks._cut(facts, 2))
    stem = keras.Model(network.input, network.layers[1].output)
    expected = stem.predict_on_batch(pixels[..., ::-1].astype("f") / 255 - 0.5)
    assert np.allclose(before.predict_on_batch(pixels), expected, atol=1e-5)


# ── weights ─────────────────────────────────────────────────────────────────────────────────


def test_weights_are_read_from_three_kinds_of_file(tmp_path: Path, weight_file: Path) -> None:
    network = backbones.build("foreign-net", (64, 64))
    network.load_weights(str(weight_file))
    network.save(tmp_path / "net.keras")
    arrays = {weight.path: np.asarray(weight) for weight in network.weights}
    np.savez(tmp_path / "net.npz", **arrays)
    files = (weight_file, tmp_path / "net.keras", tmp_path / "net.npz")
    found = {
        backbones.add_weights(Home(tmp_path / str(number)), "foreign-net", file).digest
        for number, file in enumerate(files)
    }
    assert found == {weight_files.digest(network)}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, "is in one of them only"),
        ({"more": np.zeros(3)}, "more is in one of them only"),
        ({"stem/bias": np.zeros(9)}, "stem/bias is (9,), not (8,)"),
        ({"stem/bias": np.array([print], object)}, "allow_pickle"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    network = backbones.build("foreign-net", (48, 48))
    whole = {weight.path: np.asarray(weight) for weight in network.weights} if arrays else {}
    np.savez(tmp_path / "net.npz", **{**whole, **arrays})
    with pytest.raises(DataError) as caught:
        backbones.add_weights(Home(tmp_path / "home"), "foreign-net", tmp_path / "net.npz")
    assert words in caught.value.message
    assert "nothing was changed" in caught.value.message
    assert not (tmp_path / "home" / "weights").exists()


@pytest.mark.parametrize("name", ["net.keras", "net.npz", "net.weights.h5"])
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="does not hold the weights of foreign-net") as caught:
        backbones.add_weights(Home(tmp_path / "home"), "foreign-net", tmp_path / name)
    assert caught.value.exit_code == 4


def test_another_version_is_another_network(home: Home, weight_file: Path, tmp_path: Path) -> None:
    first = backbones.add_weights(home, "foreign-net", weight_file)
    second = backbones.add_weights(home, "next-net", weight_file)
    assert (first.arrays == second.arrays, first.digest == second.digest) == (True, False)
    assert Workbench(home).network(NetworkShape("next-net", (48, 48), second.digest)).layers
    manifest = home.weights / "next-net.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 1}))
    assert backbones.find_weights(home, "next-net") is None, "they were of another version"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def published(weight_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """The stranger's weights, served over HTTP, as its facts say."""
    import foreign_backbone

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(weight_file.parent))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    content = weight_file.read_bytes()
    url = f"http://127.0.0.1:{server.server_port}/{weight_file.name}"
    source = Source(url, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
    facts = replace(foreign_backbone.ForeignNet.facts, source=source)
    monkeypatch.setattr(foreign_backbone.ForeignNet, "facts", facts)
    yield source
    server.shutdown()
    server.server_close()


def test_published_weights_are_fetched(published: Source, tmp_path: Path) -> None:
    home = Home(tmp_path)
    weights = backbones.ensure_weights(home, "foreign-net", "", silent)
    assert backbones.find_weights(home, "foreign-net") == weights
    assert [each.name for each in home.weights.iterdir() if each.is_dir()] == []


def test_a_checksum_that_differs_is_refused(
    published: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import foreign_backbone

    wrong = replace(published, checksum=f"sha256:{'0' * 64}")
    monkeypatch.setattr(
        foreign_backbone.ForeignNet, "facts", foreign_backbone.known("foreign-net", source=wrong)
    )
    with pytest.raises(DataError, match="it has not the published checksum") as caught:
        backbones.ensure_weights(Home(tmp_path), "foreign-net", "", silent)
    assert "orch backbones add foreign-net --from FILE" in caught.value.hint
    copy = tmp_path / "net.weights.h5"
    copy.write_bytes(b"some other file of that name")
    with pytest.raises(DataError, match="is not the published file: its sha256"):
        backbones.add_weights(Home(tmp_path), "foreign-net", copy)


def test_weights_that_come_with_it_are_found(
    weight_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import foreign_backbone

    network = backbones.build("foreign-net", (48, 48))
    network.load_weights(str(weight_file))
    for digest, good in ((weight_files.digest(network), True), ("0" * 64, False)):
        facts = foreign_backbone.known("foreign-net", shipped=Shipped(weight_file, digest))
        monkeypatch.setattr(foreign_backbone.ForeignNet, "facts", facts)
        found = backbones.find_weights(Home(tmp_path), "foreign-net")
        assert found is not None
        assert not found.added
        if good:
            backbones.load("foreign-net", (48, 48), found)
            backbone_checks.weights("foreign-net")
            continue
        with pytest.raises(DataError, match="the digest of its arrays has changed"):
            backbones.load("foreign-net", (48, 48), found)
        with pytest.raises(PluginError, match=f"it is {weight_files.digest(network)}"):
            backbone_checks.weights("foreign-net")


def test_weights_that_are_nowhere_have_to_be_given(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its plugin says nowhere to fetch them") as caught:
        backbones.ensure_weights(Home(tmp_path), "foreign-net", "", silent)
    assert caught.value.hint == "orch backbones add foreign-net --from FILE"


# ── what is wrong ───────────────────────────────────────────────────────────────────────────

WRONG = {
    "raising-net": "the backbone 'raising-net' raised RuntimeError: no layers today",
    "sequential-net": "built a Sequential, not a functional keras.Model",
    "subclassed-net": "built a Subclassed that is not functional",
    "two-inputs-net": "built a model of 2 inputs and 1 outputs",
    "two-outputs-net": "built a model of 1 inputs and 2 outputs",
    "one-name-net": "built a model with several weights called 'conv/kernel'",
    "shared-net": "the layer 'conv' is called more than once",
    "pooled-net": "ends as (None, 3), not as (n, height, width, channels)",
    "operation-net": "whose output is not that of its last layer",
    "wide-net": "reads (None, 48, 49, 3), not (None, 48, 48, 3)",
    "nameless-net": "its `facts` are no NetworkFacts of that name",
    "absent-net": "the plugin 'absent-net' of foreign 1.0 cannot be used: AttributeError",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_plugin_that_builds_something_else_is_refused_in_one_line(home: Home, name: str) -> None:
    with pytest.raises(PluginError) as caught:
        backbones.describe(home, name)
    assert WRONG[name] in caught.value.message
    assert repr(name) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 6


def test_preprocessing_that_changes_the_shape_is_refused(home: Home) -> None:
    with pytest.raises(PluginError, match=r"preprocesses images .* to \(None, 16, 32, 3\)|to"):
        backbones.preprocess("shrinking-net", keras.Input((32, 32, 3)))


class Faulty:
    """The stranger's network with one fault each; `checks` must find it."""

    api = 1

    def __init__(self, **changes: Any) -> None:
        self.inner = registry.load_backbone("foreign-net")
        self.facts = replace(self.inner.facts, **changes)

    def build(self, size: tuple[int, int]) -> Any:
        return self.inner.build(size)

    def preprocess(self, images: Any) -> Any:
        return self.inner.preprocess(images)


class MixesExamples(Faulty):
    def preprocess(self, images: Any) -> Any:
        return images - keras.ops.mean(images)


class IsRandom(Faulty):
    def preprocess(self, images: Any) -> Any:
        return keras.layers.GaussianNoise(0.9)(images, training=True)


class DependsOnSize(Faulty):
    def build(self, size: tuple[int, int]) -> Any:
        inputs = keras.Input((*size, 3))
        return keras.Model(inputs, keras.layers.Conv2D(size[0], 3)(inputs))


class HasNoWeights(Faulty):
    def build(self, size: tuple[int, int]) -> Any:
        inputs = keras.Input((*size, 3))
        return keras.Model(inputs, keras.layers.AveragePooling2D(2)(inputs))


class LearnsThoughFrozen(Faulty):
    def build(self, size: tuple[int, int]) -> Any:
        class Counting(keras.Layer):
            def build(self, shape: Any) -> None:
                self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False)

            def call(self, x: Any, training: bool = False) -> Any:
                if training:
                    self.seen.assign_add(1.0)
                return x

        inputs = keras.Input((*size, 3))
        return keras.Model(inputs, Counting()(keras.layers.Conv2D(4, 3)(inputs)))


class TrainsOtherwise(Faulty):
    def build(self, size: tuple[int, int]) -> Any:
        class Doubling(keras.Layer):
            def call(self, x: Any, training: bool = False) -> Any:
                return x * 2 if training else x

        inputs = keras.Input((*size, 3))
        return keras.Model(inputs, Doubling()(keras.layers.Conv2D(4, 3)(inputs)))


class HidesWeights(Faulty):
    def build(self, size: tuple[int, int]) -> Any:
        class Hiding(keras.layers.Conv2D):
            def save_own_variables(self, store: Any) -> None:
                store["0"] = np.zeros(self.kernel.shape, "f")
                store["1"] = np.zeros(self.bias.shape, "f")

        inputs = keras.Input((*size, 3))
        return keras.Model(inputs, Hiding(4, 3)(inputs))


FAULTS: list[tuple[str, type[Faulty], dict[str, Any], str]] = [
    ("facts", Faulty, {"title": " "}, "gives no title"),
    ("facts", Faulty, {"licence": ""}, "gives no licence"),
    ("facts", Faulty, {"homepage": "example.org"}, "gives no homepage"),
    ("facts", Faulty, {"version": 0}, "has version 0"),
    ("facts", Faulty, {"minimum_size": 64}, "takes no images of the size it was trained on"),
    ("facts", Faulty, {"source": Source("https://x", "sha256:12", 1)}, "gives a checksum"),
    ("network", DependsOnSize, {}, "builds other weights at 32 × 32 pixels"),
    ("network", HasNoWeights, {}, "builds a network without weights"),
    ("preprocessing", MixesExamples, {}, "preprocesses otherwise one example at a time"),
    ("preprocessing", IsRandom, {}, "preprocesses otherwise in training"),
    ("cutting", LearnsThoughFrozen, {}, "changes its weights in training, though frozen"),
    ("cutting", TrainsOtherwise, {}, "computes otherwise in training, though frozen"),
    ("weights", HidesWeights, {}, "does not give back the weights it kept"),
]


@pytest.mark.parametrize(
    ("check", "kind", "changes", "words"), FAULTS, ids=lambda each: getattr(each, "__name__", None)
)
def test_each_fault_is_found(
    monkeypatch: pytest.MonkeyPatch,
    check: str,
    kind: type[Faulty],
    changes: dict[str, Any],
    words: str,
) -> None:
    faulty = kind(**changes)
    monkeypatch.setattr(registry, "load_backbone", lambda name: faulty)
    with pytest.raises(PluginError, match="the backbone 'foreign-net' ") as caught:
        backbone_checks.BY_NAME[check]("foreign-net")
    assert words in caught.value.message


def test_the_example_in_the_documents_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (TESTS.parent / "docs" / "backbones.md").read_text()
    code = page.split("```python")[1].split("```")[0]
    (tmp_path / "birdnet.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    plugin = __import__("birdnet").BirdNet()
    monkeypatch.setattr(registry, "load_backbone", lambda name: plugin)
    for check in backbone_checks.BY_NAME.values():
        check("birdnet")


# ── the command line ────────────────────────────────────────────────────────────────────────


def test_it_is_listed_added_and_shown(orch: Any, weight_file: Path) -> None:
    added = orch("backbones", "add", "foreign-net", "--from", str(weight_file))
    assert added.code == 0, added.err
    assert "the weights of foreign-net are added: digest " in added.err
    listed = {
        each["name"]: each for each in json.loads(orch("backbones", "--json").out)["backbones"]
    }
    net = listed["foreign-net"]
    assert (net["weights"], net["licence"]) == ("added", "CC0-1.0")
    assert (net["distribution"], net["image_size"], net["problem"]) == ("foreign 1.0", 48, None)
    assert "foreign_backbone.py has no AbsentNet" in listed["absent-net"]["problem"]
    assert listed["vgg-mini"]["weights"] == "shipped"
    table = orch("backbones")
    assert table.code == 0
    (line,) = [each for each in table.out.splitlines() if each.startswith("absent-net")]
    assert "blocked" in line
    assert "the plugin absent-net of foreign 1.0 is blocked" in table.err
    shown = json.loads(orch("backbones", "show", "foreign-net", "--json").out)
    assert shown["cuts"] == [0, 2, 5, 7]


def test_a_sweep_is_planned_on_it_and_a_wrong_one_refused(orch: Any, weight_file: Path) -> None:
    words = ["sweep", "digits", "--limit", "100", "-S", "image_size=48", "--dry-run", "--json"]
    ran = orch(*words, "--backbone", "foreign-net")
    assert ran.code == 4, ran.err
    assert "orch backbones add foreign-net --from FILE" in ran.err
    orch("backbones", "add", "foreign-net", "--from", str(weight_file))
    ran = orch(*words, "--backbone", "pooled-net")
    assert ran.code == 6, ran.err
    assert "the backbone 'pooled-net' built a model that ends as (None, 3)" in ran.err
    assert len(ran.err.strip().splitlines()) <= 2 + ran.err.count("reading")


def test_one_that_is_not_there() -> None:
    with pytest.raises(NotFoundError, match="did you mean foreign-net") as caught:
        registry.load_backbone("foreign-nets")
    assert caught.value.hint == "orch backbones lists all"


def test_a_backbone_is_checked_from_outside(orch, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ORCH_HOME", str(tmp_path / "home"))
    ran = orch("plugins", "check", "vgg-mini", "--json")
    assert ran.code == 0, ran.err
    checks = {each["check"]: each["outcome"] for each in json.loads(ran.out)["checks"]}
    assert checks.keys() >= backbone_checks.BY_NAME.keys()
    assert set(checks.values()) == {"ok"}
