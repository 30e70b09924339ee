"""The checks of plugins find each planted fault, and say of each what it is and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planting import GOOD, GOOD_DATASET, GOOD_STRATEGY, Site, changed, planted_site

from orch import registry
from orch.checks import Fault, Result, datasets, imports, run, strategies
from orch.errors import PluginError
from orch.home import Home
from orch.registry import DATASETS, STRATEGIES

pytestmark = pytest.mark.slow

Change = tuple[str, str]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with planted_site(tmp_path / "site", monkeypatch) as made:
        yield made


def results(checks: Any, subject: Any, lacks: Any = lambda check: "") -> dict[str, Result]:
    """How each check that needs more than an import ended, in this process."""
    wanted = [each for each in checks if each.needs != "import"]
    return {check.name: result for check, result in run(wanted, subject, lacks) if result}


def of_dataset(tmp_path: Path, name: str, **kinds: Any) -> dict[str, Result]:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    plugin = registry.find(DATASETS, name)
    subject = datasets.DatasetSubject(plugin, scratch=scratch, **kinds)
    return results(datasets.CHECKS, subject, subject.lacks)


def of_strategy(name: str) -> dict[str, Result]:
    subject = strategies.StrategySubject(registry.find(STRATEGIES, name))
    return results(strategies.CHECKS, subject)


def faults(found: dict[str, Result]) -> dict[str, str]:
    return {name: each.why for name, each in found.items() if each.outcome == "fault"}


# ── datasets ────────────────────────────────────────────────────────────────────────────────

RECIPE = 'recipes=(Recipe("best", "Best", {}, {}, "99 %", 0.99, 12),),'
OPTION = 'options=(Option("rate", {}, Choice((8, 16)), "samples a second"),),'
LABELS = 'labels = np.load(folder / f"{split}-labels.npy")'
IMAGES = 'images = np.load(folder / f"{split}-images.npy")'
READ = 'raise DataError(f"{path} is no noise")'
OPENED = "        return found\n"

BROKEN_DATASETS: dict[str, tuple[str, list[Change], str]] = {
    "another api": ("api", [("api = 1", "api = 2")], "it is written for api = 2, this orch has"),
    "no api": ("api", [("api = 1", "epi = 1")], "it is written for api = None"),
    "a missing method": ("api", [("def open(", "def opened(")], "lacks `facts`, `install` or"),
    "another name": (
        "name",
        [('"NAME"', '"other"')],
        "facts.name is 'other', its entry point says 'odd'",
    ),
    "facts that are none": (
        "name",
        [("facts = DatasetFacts(", "facts = dict(")],
        "facts is dict, not DatasetFacts",
    ),
    "no licence": ("facts", [('"CC0-1.0"', '""')], "facts.licence is empty"),
    "no homepage": ("facts", [("https://", "")], "facts.homepage is 'example.org', which does not"),
    "one class": (
        "facts",
        [('("first", "second")', '("first",)'), (LABELS, f"{LABELS} * 0")],
        "facts.classes has 1 of the 2 classes that it takes",
    ),
    "a class twice": (
        "facts",
        [('("first", "second")', '("first", "first")')],
        "facts.classes has 'first' twice",
    ),
    "no size": ("facts", [("(32, 32)", "(32, 0)")], r"facts.image_size is \(32, 0\), not \(height"),
    "no checksum": (
        "facts",
        [("source=None,\n", 'source=Source("https://x", "md5:12", 9),\n')],
        "facts.source has checksum 'md5:12' of 9 bytes",
    ),
    "a default that is not allowed": (
        "options",
        [("options=(),", OPTION.format(4))],
        r"the option 'rate' has default 4, allowed is choice\(8,16\)",
    ),
    "an option that is not taken": (
        "options",
        [("options=(),", OPTION.format(8))],
        r"TypeError: Plugin\(\) takes no arguments",
    ),
    "a recipe of no strategy": (
        "recipes",
        [("recipes=(),", RECIPE.format('"fine-tun"', "{}"))],
        "recipe 'best': no strategy is called 'fine-tun' .did you mean fine-tune",
    ),
    "a recipe of no parameter": (
        "recipes",
        [("recipes=(),", RECIPE.format('"fine-tune"', '{"rate": 1}'))],
        "recipe 'best': the recipe 'best' says rate=1, which fine-tune does not take",
    ),
    "a broken file that is not named": (
        "broken-file",
        [(READ, 'raise DataError("it is no noise")')],
        "of broken.jpg does not name it: it is no noise",
    ),
    "a broken file that raises": (
        "broken-file",
        [(READ, "return np.load(path)")],
        r"read\(\) of broken.jpg raised ValueError: .*, not a DataError",
    ),
    "a broken file that is taken": (
        "broken-file",
        [(READ, "return np.zeros((4, 4, 3), np.uint8)")],
        r"read\(\) takes broken.jpg, which holds no example, for one",
    ),
    "an installation that raises": (
        "serves",
        [("random = np", "random = nump")],
        "it raised NameError: name 'nump' is not defined",
    ),
    "no train": (
        "serves",
        [(OPENED, '        return {"test": found["test"]}\n')],
        r"open\(\) serves test, and no 'train'",
    ),
    "a split of its own": (
        "serves",
        [(OPENED, '        return {**found, "dev": found["test"]}\n')],
        r"open\(\) serves 'dev', splits are train, validation, test",
    ),
    "labels of 32 bits": (
        "labels",
        [(LABELS, f"{LABELS}.astype(np.int32)")],
        "train: labels are int32, not int64",
    ),
    "labels as a table": (
        "labels",
        [(LABELS, f"{LABELS}[:, None]")],
        r"train: labels have the shape \(12, 1\), not \(n,\)",
    ),
    "a label out of range": (
        "labels",
        [(LABELS, f"{LABELS}; labels[3] = 2")],
        r"train\[3\]: label 2 is no class index from 0 to 1",
    ),
    "a class that nobody trains on": (
        "every-class",
        [(LABELS, f"{LABELS}; labels[:] = 0")],
        "train: no example is of the class 'second'",
    ),
    "images of floats": (
        "images",
        [(IMAGES, f"{IMAGES}.astype(np.float32)")],
        r"train\[0\]: image\(\) gave float32 \(4, 5, 3\), not uint8 \(height, width, 3\)",
    ),
    "grey images": (
        "images",
        [(IMAGES, f"{IMAGES}[..., 0]")],
        r"train\[0\]: image\(\) gave uint8 \(4, 5\), not uint8",
    ),
    "images as lists": (
        "images",
        [("self.images[index]", "self.images[index].tolist()")],
        r"train\[0\]: image\(\) gave list, not uint8",
    ),
    "an example that raises": (
        "images",
        [("self.images[index]", "self.images[index if index < 11 else 99]")],
        r"train\[11\]: image\(\) raised IndexError: index 99 is out of bounds",
    ),
    "splits that overlap": (
        "apart",
        [(OPENED, '        found["test"].images[2] = found["train"].images[7]\n' + OPENED)],
        r"1 of 6 pictures of test are in train too, such as test\[2\], which is train\[7\]",
    ),
    "another order each time": (
        "order",
        [(LABELS, f"{LABELS}[np.random.permutation(12 if split == 'train' else 6)]")],
        "(train|test): opened again, the labels are others or in another order",
    ),
    "other pixels each time": (
        "order",
        [(IMAGES, f"{IMAGES} ^ np.random.randint(1, 255, dtype=np.uint8)")],
        r"train\[0\]: opened again, it is another picture",
    ),
    "content that depends on the time": (
        "digest",
        [("random = np", "import time; (folder / 'when').write_text(str(int(time.time())))\n"
          "        random = np")],
        "installed twice, when has other content: no time, path or chance in it",
    ),
    "content that depends on the place": (
        "digest",
        [("random = np", "(folder / folder.name).touch(); random = np")],
        "installed twice, only one has the file (again|first)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_DATASETS)
def test_each_fault_of_a_dataset_is_said(site: Site, tmp_path: Path, case: str) -> None:
    check, changes, says = BROKEN_DATASETS[case]
    site.plant("odd", changed(GOOD_DATASET, *changes))
    found = faults(of_dataset(tmp_path, "odd"))
    assert re.search(says, found.pop(check)), found
    assert not found, "one fault is one finding"


def test_a_good_dataset_has_no_fault(site: Site, tmp_path: Path) -> None:
    site.plant("even", GOOD_DATASET)
    found = of_dataset(tmp_path, "even")
    assert {each.outcome for each in found.values()} == {"ok"}
    assert len(found) == 13


def test_what_needs_data_is_not_run_without(site: Site, tmp_path: Path) -> None:
    site.plant("afar", changed(GOOD_DATASET, ("embedded=True", "embedded=False")))
    found = of_dataset(tmp_path, "afar", home=Home(tmp_path / "home"))
    assert not faults(found)
    left = {name: each.why for name, each in found.items() if each.outcome == "not run"}
    assert list(left) == ["serves", "labels", "every-class", "images", "apart", "order", "digest"]
    assert left["labels"].startswith("its data is not here: orch plugins check afar --from PATH, ")
    assert left["labels"].endswith("or orch datasets add afar before")
    assert left["digest"].endswith("orch plugins check afar --from PATH")


# ── strategies ──────────────────────────────────────────────────────────────────────────────

RATE = '"learning_rate", Log(1e-4, 1e-2), 1e-3, Log(1e-9, 1.0), "step size"'
STAGES = "Plan(ImageInput((32, 32)), Head(), (stage,))"

BROKEN_STRATEGIES: dict[str, tuple[str, list[Change], str]] = {
    "another api": ("api", [("api = 1", "api = '1'")], "it is written for api = '1', this orch"),
    "a missing method": ("api", [("def plan(", "def plans(")], "lacks `facts`, `parameters` or"),
    "another name": ("name", [('"NAME"', '"x"')], "facts.name is 'x', its entry point says 'odd'"),
    "no title": ("name", [('"train a head"', '""')], "facts.title is empty"),
    "a default outside": (
        "parameters",
        [("1e-2), 1e-3", "1e-2), 3.0")],
        r"learning_rate: the default 3.0 is outside log\(1e-09,1.0\)",
    ),
    "a search outside": (
        "parameters",
        [("Int(1, 4)", "Int(0, 4)")],
        r"epochs: searched is int\(0,4\), outside int\(1,100\)",
    ),
    "a parameter without help": ("parameters", [('"step size"', '""')], "learning_rate: it has no"),
    "a parameter twice": (
        "parameters",
        [('"epochs", Int', '"learning_rate", Int')],
        r"parameters\(\) has 'learning_rate' twice",
    ),
    "no plan": ("plans", [(STAGES, "{}")], r"with its defaults: plan\(\) gave dict, not a Plan"),
    "no stage": ("plans", [("(stage,))", "())")], "with its defaults: the plan has no stage"),
    "a rate of zero": (
        "plans",
        [('params["learning_rate"]', 'params["learning_rate"] - 1e-4')],
        "with learning_rate=0.0001: stage 1 has the learning rate 0, which must be above 0",
    ),
    "no epoch": (
        "plans",
        [('params["epochs"], 32', 'params["epochs"] - 1, 32')],
        "with epochs=1: stage 1 trains 0 epochs with batches of 32: 1 is the least",
    ),
    "an optimizer that there is not": (
        "plans",
        [('"adam"', '"lion"')],
        "stage 1: optimizer has name='lion'; known: adam, adamw, sgd, rmsprop",
    ),
    "pooling that there is not": (
        "plans",
        [("Head()", 'Head(pooling="mean")')],
        "the head has pooling='mean'; known: average, max, flatten",
    ),
    "nothing left": ("plans", [("Head()", "Head(dropout=1.0)")], "the head drops 1 of the"),
    "a plan of more than data": (
        "plans",
        [('params["learning_rate"])', 'np.float32(params["learning_rate"]))')],
        "the plan is not plain data: Object of type float32",
    ),
    "a corner that raises": (
        "plans",
        [("optimizer = ", "1 / (4 - params['epochs']); optimizer = ")],
        r"with epochs=4: plan\(\) raised ZeroDivisionError: division by zero",
    ),
    "frozen beyond the backbone": (
        "fits",
        [("len(problem.backbone.layers)", "19")],
        "with its defaults: stage 1 freezes 19 layers of a backbone of 5",
    ),
    "images that are too small": (
        "fits",
        [("ImageInput((32, 32))", "ImageInput((32, 8), 2)")],
        "images become 16 pixels wide or high, the backbone needs 32",
    ),
    "a plan by chance": (
        "same-plan",
        [("frozen = ", "frozen = np.random.randint(10**6) % 6 or ")],
        r"asked twice, plan\(\) gave two different plans",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_STRATEGIES)
def test_each_fault_of_a_strategy_is_said(site: Site, case: str) -> None:
    check, changes, says = BROKEN_STRATEGIES[case]
    site.plant("odd", changed(GOOD_STRATEGY, *changes), STRATEGIES)
    found = faults(of_strategy("odd"))
    assert re.search(says, found.pop(check)), found
    assert not found, "one fault is one finding"


def test_a_good_strategy_has_no_fault(site: Site) -> None:
    site.plant("even", GOOD_STRATEGY, STRATEGIES)
    found = of_strategy("even")
    assert {each.outcome for each in found.values()} == {"ok"}
    assert len(found) == 6


# ── importing ───────────────────────────────────────────────────────────────────────────────

BROKEN_IMPORTS = {
    "raises": (
        "import",
        "\n\nimport no_such_module",
        r"it raised ModuleNotFoundError: No module named 'no_such_module' "
        r"\(planted_odd.py line 3\)",
    ),
    "exits": (
        "import",
        "raise SystemExit(3)",
        r"it ends the program while it is imported \(SystemExit: 3\) \(planted_odd.py line 1\)",
    ),
    "exits at once": (
        "import",
        "import os; os._exit(7)",
        r"importing it ends the process \(exit code 7\)",
    ),
    "crashes": (
        "import",
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        r"importing it ends the process \(signal SIGSEGV\)",
    ),
    "hangs": (
        "import",
        "import time\nwhile True:\n    time.sleep(60)",
        "it is not imported after 2 s at planted_odd.py line 3",
    ),
    "raises when built": (
        "import",
        "class Plugin:\n    def __init__(self):\n        self.x = {}['key']",
        r"it raised KeyError: 'key' \(planted_odd.py line 3\)",
    ),
    "prints": (
        "silence",
        "print('\\x1b[31mred'); Plugin = dict",
        r"importing planted_odd prints '\\x1b\[31mred\\n'",
    ),
    "complains": (
        "silence",
        "import sys; sys.stderr.write('watch out\\n'); Plugin = dict",
        "importing planted_odd prints 'watch out'",
    ),
    "is slow": (
        "import-time",
        "import time; time.sleep(1.3); Plugin = dict",
        r"importing planted_odd takes \d\.\d s, most of it in planted_odd; 1 s is the most",
    ),
    "is heavy": (
        "light",
        "import os\nimport scipy\nPlugin = dict",
        r"importing planted_odd imports scipy \(planted_odd.py line 2\): import it inside",
    ),
    "is heavy by another": (
        "light",
        "import importlib\nimportlib.import_module('scipy')\nPlugin = dict",
        r"importing planted_odd imports scipy \(indirectly\)",
    ),
}


@pytest.mark.parametrize("case", BROKEN_IMPORTS)
def test_each_fault_of_an_import_is_said(
    site: Site, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    check, code, says = BROKEN_IMPORTS[case]
    patience = 2.0 if case == "hangs" else 20.0
    monkeypatch.setattr(imports, "MOST_SECONDS", 1.0 if case == "is slow" else 10.0)
    site.plant("odd", code)
    subject = imports.Imported(registry.find(DATASETS, "odd"), patience)
    (broken,) = (each for each in imports.CHECKS if each.name == check)
    with pytest.raises(Fault, match=says) as caught:
        broken.run(subject)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("group", GOOD)
def test_a_good_import_has_no_fault(site: Site, group: str) -> None:
    site.plant("even", GOOD[group], group)
    subject = imports.Imported(registry.find(group, "even"))
    for check in imports.CHECKS:
        check.run(subject)
    assert subject.measured.seconds < imports.MOST_SECONDS


def test_every_message_is_of_its_own() -> None:
    """Of the faults above no two are told with the same words."""
    said = [says for _, _, says in (*BROKEN_DATASETS.values(), *BROKEN_STRATEGIES.values())]
    assert len(said) == len(set(said)) > 50


def test_a_fault_is_an_error_of_plugins() -> None:
    assert issubclass(Fault, PluginError)
    assert replace(Result("a", "b", "ok"), why="c").why == "c"
