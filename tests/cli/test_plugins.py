"""`orch plugins`, and what a broken plugin costs everybody else: one line."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planting import GOOD_DATASET, GOOD_STRATEGY, Site, changed, planted_site

from orch import probing, registry
from orch.home import Home
from orch.probing import children
from orch.registry import BACKBONES, DATASETS, STRATEGIES

pytestmark = pytest.mark.slow

TRACE = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with planted_site(tmp_path / "site", monkeypatch) as made:
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def listed(orch: Any) -> dict[str, dict[str, Any]]:
    ran = orch("plugins", "--json")
    assert (ran.code, ran.err) == (0, "")
    return {each["name"]: each for each in json.loads(ran.out)["plugins"]}


def count_children(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modules of the processes that are started from here on."""
    seen: list[str] = []
    start = children.started

    def counting(module: str, *words: Any, **kinds: Any) -> Any:
        seen.append(module)
        return start(module, *words, **kinds)

    monkeypatch.setattr(children, "started", counting)
    return seen


# ── listing ─────────────────────────────────────────────────────────────────────────────────


def test_plugins_are_listed_and_none_is_imported(
    orch: Any, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = count_children(monkeypatch)
    file = site.plant("noise", TRACE + GOOD_DATASET)
    found = listed(orch)
    assert found["noise"] == {
        "name": "noise",
        "kind": "dataset",
        "distribution": "planted_noise",
        "version": "1.2",
        "file": str(file),
        "state": "ready",
        "why": None,
    }
    assert {"digits", "cifar10", "fine-tune", "two-stage"} <= found.keys()
    assert not file.with_suffix(".ran").exists()
    assert "planted_noise" not in sys.modules
    assert started == []
    rows = list(csv.DictReader(io.StringIO(orch("plugins", "--csv").out)))
    assert [row["version"] for row in rows if row["plugin"] == "noise"] == ["1.2"]
    assert "noise" in orch("plugins").out


@pytest.mark.parametrize(
    ("code", "target", "why"),
    [
        ("def", "Plugin", "planted_odd.py line 1 is no Python: invalid syntax"),
        ("x = '\x00'", "Plugin", "planted_odd.py"),
        ("import os", "Plugin", "planted_odd.py has no Plugin"),
        ("def f():\n    Plugin = 1", "Plugin", "planted_odd.py has no Plugin"),
        (
            "class Plugin:\n    api = 7",
            "Plugin",
            "it is written for api = 7, this orch has api = 1",
        ),
        ("class Plugin:\n    api: int = 2", "Plugin", "it is written for api = 2, this orch has"),
        ("", "", "its entry point 'planted_odd:' is not of the form module:Class"),
        (None, "Plugin", "its module planted_odd is not there"),
    ],
)
def test_what_a_file_shows_blocks_it(
    orch: Any, site: Site, code: str | None, target: str, why: str
) -> None:
    file = site.plant("odd", code or "", target=target)
    if code is None:
        file.unlink()
    found = listed(orch)
    assert found["odd"]["state"] == "blocked"
    assert found["odd"]["why"].startswith(why)
    assert found["digits"]["state"] == "ready"
    ran = orch("plugins", "check", "odd")
    assert ran.code == 6
    assert f"fault    import         {found['odd']['why']}" in ran.out


@pytest.mark.parametrize(
    "code",
    [
        "from collections import OrderedDict as Plugin",
        "try:\n    from a import Plugin\nexcept ImportError:\n    class Plugin: ...",
        "if True:\n    Plugin = dict",
        "from os.path import *",
        "def __getattr__(name): ...",
    ],
)
def test_what_a_file_may_bring_does_not_block_it(orch: Any, site: Site, code: str) -> None:
    site.plant("odd", code)
    assert listed(orch)["odd"]["state"] == "ready"


def test_a_module_in_a_package_is_found_without_the_package(orch: Any, site: Site) -> None:
    for package in ("planted_pack", "planted_spread/inner"):
        folder = site.folder / package
        folder.mkdir(parents=True)
    (site.folder / "planted_pack" / "__init__.py").write_text("raise SystemExit(1)")
    for name, module in (("packed", "planted_pack.of"), ("spread", "planted_spread.inner.of")):
        (site.folder / f"{module.replace('.', '/')}.py").write_text("Plugin = dict")
        site.plant(name, "", module=f"planted_{name}_about")
        about = site.folder / f"planted_{name}_about-1.2.dist-info" / "entry_points.txt"
        about.write_text(f"[{DATASETS}]\n{name} = {module}:Plugin\n")
    registry.forget()
    found = listed(orch)
    assert found["packed"]["state"] == found["spread"]["state"] == "ready"
    assert found["packed"]["file"].endswith("planted_pack/of.py")
    assert found["spread"]["file"].endswith("planted_spread/inner/of.py")


def test_a_name_of_two_distributions_is_blocked(orch: Any, site: Site) -> None:
    site.plant("twin", GOOD_DATASET, module="planted_one")
    site.plant("twin", GOOD_DATASET, module="planted_two")
    twins = [each for each in registry.installed() if each.name == "twin"]
    assert {each.distribution for each in twins} == {"planted_one", "planted_two"}
    assert listed(orch)["twin"]["why"] == "two distributions bring it"
    ran = orch("sweep", "twin")
    assert ran.code == 6
    assert "of planted_" in ran.err
    assert " and planted_" in ran.err
    assert "cannot be used: two distributions bring it" in ran.err


# ── what is broken is blocked alone ─────────────────────────────────────────────────────────

FACTS = "its facts are not as the contract has them: "
DEATHS = {
    "import nothing_there": "ModuleNotFoundError: No module named 'nothing_there'",
    "raise SystemExit(3)": "it ends the program (SystemExit: 3)",
    "import os; os._exit(3)": "importing it ends the process (exit code 3)",
    "import os; os.abort()": "importing it ends the process (signal SIGABRT)",
    "import time; time.sleep(600)": "it is not imported after 4 s",
    "class Plugin: ...": "it is written for api = None, this orch has api = 1",
    GOOD_STRATEGY.replace("NAME", "x"): "its facts call it 'x'",
    GOOD_STRATEGY.replace(
        "StrategyFacts(", "tuple("
    ): "TypeError: tuple expected at most 1 argument, got 2",
    GOOD_STRATEGY.replace("StrategyFacts(", "max("): "its facts are str, not StrategyFacts",
    GOOD_STRATEGY.replace('"train a head"', "9"): FACTS
    + "['odd', 9] is not text where text is needed",
    GOOD_STRATEGY.replace('"train a head"', "{1}"): FACTS
    + "Object of type set is not JSON serializable",
}


@pytest.mark.parametrize("code", DEATHS, ids=lambda code: code[:28].strip())
def test_a_broken_plugin_costs_one_line(
    orch: Any, site: Site, home: Home, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setenv("ORCH_PLUGIN_TIMEOUT", "4")
    site.plant(
        "odd", f"{code}\nPlugin = Plugin" if "Plugin" in code else f"{code}\nPlugin = 0", STRATEGIES
    )
    site.plant("even", GOOD_STRATEGY, STRATEGIES)
    ran = orch("strategies")
    assert ran.code == 0
    assert "fine-tune" in ran.out
    assert "even" in ran.out
    assert ran.err == (
        f"the plugin odd of planted_odd 1.2 is blocked: {DEATHS[code]}; orch plugins check odd\n"
    )
    started = count_children(monkeypatch)
    again = orch("strategies")
    assert (again.out, again.err, started) == (ran.out, ran.err, [])
    assert listed(orch)["odd"]["why"] == DEATHS[code]


@pytest.mark.parametrize(
    ("former", "now", "said"),
    [
        ('("first", "second")', '["first", "second"]', "classes is ['first', 'second']"),
        ("(32, 32)", "[32, 32]", "image_size is [32, 32]"),
        ("(32, 32)", "(32.5, 32)", "image_size is (32.5, 32)"),
        ("recipes=()", "recipes=[]", "recipes is []"),
    ],
)
def test_facts_of_other_types_are_named(
    orch: Any, site: Site, former: str, now: str, said: str
) -> None:
    site.plant("odd", changed(GOOD_DATASET, (former, now)))
    assert orch("datasets").code == 0
    assert listed(orch)["odd"]["why"] == FACTS + said


def test_what_a_plugin_raises_while_it_is_added_is_its_own_fault(orch: Any, site: Site) -> None:
    site.plant(
        "odd", changed(GOOD_DATASET, ("random = np", "raise KeyError('x')\n        random = np"))
    )
    ran = orch("datasets", "add", "odd")
    assert ran.code == 6
    assert "error: the dataset 'odd' raised KeyError: 'x'" in ran.err
    assert "try: orch plugins check odd" in ran.err


def test_escapes_never_reach_the_terminal(orch: Any, site: Site) -> None:
    noise = "import os, sys\nprint('\\x1b[2J')\nos.write(2, b'\\x1b[31m')\n"
    facts = ('"train a head"', '"train \\x1b[31m a head"')
    site.plant("loud", noise + changed(GOOD_STRATEGY, facts), STRATEGIES)
    ran = orch("strategies")
    assert (ran.code, ran.err) == (0, "")
    assert "train [31m a head" in ran.out
    assert "\x1b" not in ran.out


def test_recipes_and_doctor_go_on(orch: Any, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.plant("odd", "import os; os._exit(9); Plugin = 0")
    why = (
        "the plugin odd of planted_odd 1.2 is blocked: importing it ends the process (exit code 9)"
    )
    ran = orch("recipes")
    assert (ran.code, ran.err) == (0, f"{why}; orch plugins check odd\n")
    assert "cifar10/decay" in ran.out
    found = json.loads(orch("doctor", "--json").out)["findings"]
    (odd,) = [each for each in found if each["what"] == "data odd"]
    assert (odd["good"], odd["found"], odd["advice"]) == (False, why, "orch plugins check odd")
    assert [each["good"] for each in found if each["what"] == "data digits"] == [True]


def test_facts_come_back_as_they_are(home: Home) -> None:
    asked = probing.datasets(home)
    assert asked.facts.keys() == set(registry.dataset_names()) - {s.name for s in asked.blocked}
    for name, facts in asked.facts.items():
        assert facts == registry.load_dataset(name).facts
    for name, facts in probing.strategies(home).facts.items():
        assert facts == registry.load_strategy(name).facts
    found = probing.backbones(home)
    assert found.facts.keys() == set(registry.backbone_names())
    for name, facts in found.facts.items():
        assert facts == registry.load_backbone(name).facts


def test_a_plugin_that_changed_is_asked_again(
    orch: Any, site: Site, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = site.plant("odd", "import nothing_there\n" + GOOD_STRATEGY, STRATEGIES)
    assert "odd" not in orch("strategies").out
    file.write_text(GOOD_STRATEGY.replace("NAME", "odd"))
    started = count_children(monkeypatch)
    ran = orch("strategies")
    assert "odd" in ran.out
    assert ran.err == ""
    assert started == ["orch.probing.child"]


def test_memory_that_is_damaged_is_made_anew(orch: Any, home: Home) -> None:
    before = orch("strategies").out
    file = home.plugins / f"{STRATEGIES}.json"
    for content in ("{", "[]", '{"fine-tune": 3}', '{"fine-tune": {"key": 1}}'):
        file.write_text(content)
        ran = orch("strategies")
        assert (ran.code, ran.out, ran.err) == (0, before, "")


@pytest.mark.slow
def test_a_sweep_of_another_plugin_does_not_notice(orch: Any, site: Site) -> None:
    site.plant("odd", "import time; time.sleep(600); Plugin = 0")
    began = time.monotonic()
    ran = orch("sweep", "digits", "--dry-run", "--trials", "2", "--limit", "60", "-S", "epochs=1")
    assert ran.code == 0, ran.err
    assert "odd" not in ran.out + ran.err
    assert time.monotonic() - began < 300


HANGS = "import time; time.sleep(600); Plugin = 0"
NAMED = {
    "dataset swept": (DATASETS, "sweep odd --dry-run"),
    "dataset shown": (DATASETS, "datasets show odd"),
    "dataset added": (DATASETS, "datasets add odd"),
    "dataset checked": (DATASETS, "datasets check odd"),
    "recipe": (DATASETS, "reproduce odd/paper"),
    "strategy swept": (STRATEGIES, "sweep digits --strategy odd --dry-run"),
    "strategy shown": (STRATEGIES, "strategies show odd"),
    "backbone swept": (BACKBONES, "sweep digits --backbone odd --dry-run"),
    "backbone shown": (BACKBONES, "backbones show odd"),
    "backbone given weights": (BACKBONES, "backbones add odd"),
}


@pytest.mark.parametrize("case", NAMED)
def test_a_plugin_that_hangs_is_refused_where_it_is_named(
    orch: Any, site: Site, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setenv("ORCH_PLUGIN_TIMEOUT", "2")
    group, words = NAMED[case]
    site.plant("odd", HANGS, group)
    ran = orch(*words.split())
    assert ran.code == 6, ran.err
    why = "the plugin 'odd' of planted_odd 1.2 cannot be used: it is not imported after 2 s"
    said = f"{why}; nothing was started"
    assert said in ran.err
    assert "orch plugins check odd" in ran.err


def test_a_backbone_that_hangs_is_blocked_alone(
    orch: Any, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_PLUGIN_TIMEOUT", "4")
    site.plant("odd", HANGS, BACKBONES)
    ran = orch("backbones", "--json")
    assert ran.code == 0, ran.err
    found = {each["name"]: each for each in json.loads(ran.out)["backbones"]}
    assert "it is not imported after 4 s" in found["odd"]["problem"]
    assert found["vgg16"]["problem"] is None
    assert found["vgg16"]["image_size"] == 224


def test_a_plugin_that_can_be_used_again_is_used(orch: Any, site: Site, tmp_path: Path) -> None:
    flag = tmp_path / "there"
    wants = f"if not __import__('os').path.exists({str(flag)!r}): raise ImportError('not there')\n"
    site.plant("odd", wants + GOOD_DATASET)
    assert orch("datasets", "show", "odd").code == 6
    flag.touch()
    ran = orch("datasets", "show", "odd")
    assert (ran.code, ran.err) == (0, "")
    assert "Noise" in ran.out


def test_a_strategy_that_leaves_its_own_ranges_is_refused(orch: Any, site: Site) -> None:
    site.plant("odd", changed(GOOD_STRATEGY, ("1e-3, Log", "1e3, Log")), STRATEGIES)
    ran = orch("sweep", "digits", "--strategy", "odd", "--dry-run")
    assert ran.code == 6
    assert "the strategy 'odd' gives learning_rate the default 1000" in ran.err
    assert "orch plugins check odd" in ran.err


def test_labels_that_are_no_classes_are_refused(
    orch: Any, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = "Rows(images, labels / 2 if __import__('os').environ.get('ODD') else labels)"
    site.plant("odd", changed(GOOD_DATASET, ("Rows(images, labels)", halves)))
    assert orch("datasets", "add", "odd").code == 0
    monkeypatch.setenv("ODD", "1")
    ran = orch("sweep", "odd", "--dry-run")
    assert ran.code == 6
    assert "serves labels in 'train' that are not whole numbers from 0 to 1" in ran.err


def test_many_of_one_file_are_one_row(orch: Any, site: Site) -> None:
    table = orch("plugins").out
    networks = [line for line in table.splitlines() if " backbone " in line]
    ours = len([name for name in registry.backbone_names() if name != "vgg-mini"])
    assert [line.split()[:3] for line in networks] == [
        [str(ours), "of", "them"],
        ["vgg-mini", "backbone", "orch-sweeps"],
    ]
    assert "orch_plugins/fine_tune.py" in table
    alone = orch("plugins", "--kind", "backbone")
    assert "vgg19" in alone.out
    assert "fine-tune" not in alone.out
    refused = orch("plugins", "--kind", "network")
    assert refused.code == 2
    assert "--kind is 'network'" in refused.err


def test_what_a_plugin_prints_is_kept_out_of_stdout(
    orch: Any, site: Site, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = (
        "import sys\nsys.stdout.reconfigure(line_buffering=True)\n"
        "print('\\x1b[2J\\x07hello', file=sys.stdout)\n"
        "sys.stdout.buffer.write(b'raw\\n')\n"
    )
    each_time = "\nPlugin.__init__ = lambda self: print('again')\n"
    site.plant("loud", loud + GOOD_DATASET + each_time)
    ran = orch("datasets", "add", "loud")
    assert (ran.code, ran.out) == (0, "")
    assert "[2Jhello\n" in ran.err
    assert "raw\n" in ran.err
    assert "\x1b" not in ran.err
    ran = orch("sweep", "loud", "--dry-run", "--json")
    assert json.loads(ran.out)["dataset"] == "loud"
    assert "again\n" in ran.err


def test_nothing_of_a_child_is_left(site: Site, home: Home, tmp_path: Path) -> None:
    script = "import subprocess as s; Plugin = s.Popen(['sleep', '777'])\nopen({!r}, 'w')"
    code = (
        script.format(str(tmp_path / "pid"))
        + ".write(str(Plugin.pid))\nimport time; time.sleep(99)"
    )
    site.plant("odd", code, STRATEGIES)
    (state,) = probing.strategies(home, 3.0).blocked
    assert state.why == "it is not imported after 3 s"
    stat = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    assert not stat.exists() or " Z " in stat.read_text()


# ── checking ────────────────────────────────────────────────────────────────────────────────


def test_checks_pass_and_fail(orch: Any, site: Site) -> None:
    site.plant("even", GOOD_DATASET)
    ran = orch("plugins", "check", "even")
    assert (ran.code, ran.err) == (0, ""), ran.out
    assert len(ran.out.splitlines()) == 17
    assert all(line.startswith("ok ") for line in ran.out.splitlines())
    slip = ("self.images[index]", "self.images[index][..., 0]")
    site.plant("odd", changed(GOOD_DATASET, slip))
    ran = orch("plugins", "check", "odd", "--json")
    assert ran.code == 6
    assert "the dataset 'odd' of planted_odd 1.2 breaks 1 of 17 promises" in ran.err
    document = json.loads(ran.out)
    assert (document["good"], document["kind"], document["name"]) == (False, "dataset", "odd")
    checks = {each["check"]: each for each in document["checks"]}
    assert checks["images"]["outcome"] == "fault"
    assert checks["images"]["why"].startswith("train[0]: image() gave uint8 (4, 5), not uint8")
    assert checks["digest"]["why"] == "images has a fault"
    assert checks["labels"]["outcome"] == "ok"


@pytest.mark.parametrize(
    ("slip", "check", "why"),
    [
        ("import os; os._exit(4)", "serves", "it ends the process (exit code 4)"),
        ("raise SystemExit(4)", "serves", "it raised SystemExit: 4 (planted_odd.py line 42)"),
    ],
)
def test_a_plugin_that_dies_is_a_finding(
    orch: Any, site: Site, slip: str, check: str, why: str
) -> None:
    site.plant("odd", changed(GOOD_DATASET, ("found = {}", slip)))
    ran = orch("plugins", "check", "odd")
    assert ran.code == 6
    assert f"fault    {check:<15}{why}\n" in ran.out
    assert f"not run  labels, every-class, images, apart, order, digest: {check} has a f" in ran.out


def test_a_plugin_that_hangs_is_a_finding(
    orch: Any, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_PLUGIN_TIMEOUT", "4")
    slip = ("optimizer = ", "import time; time.sleep(600); optimizer = ")
    site.plant("odd", changed(GOOD_STRATEGY, slip), STRATEGIES)
    ran = orch("plugins", "check", "odd")
    assert ran.code == 6
    assert "fault    plans          it is not over after 12 s\n" in ran.out
    assert "ok       parameters" in ran.out


def test_a_check_asks_anew_and_remembers(orch: Any, site: Site, tmp_path: Path) -> None:
    """A plugin may be blocked by what is not its own, such as a library that was missing."""
    library = str(tmp_path / "library")
    code = f"import os\nif not os.path.exists({library!r}):\n    import missing_one\n"
    site.plant("odd", code + GOOD_STRATEGY, STRATEGIES)
    assert "No module named 'missing_one'" in orch("strategies").err
    (tmp_path / "library").touch()
    assert "No module named 'missing_one'" in orch("strategies").err
    assert orch("plugins", "check", "odd").code == 0
    assert listed(orch)["odd"]["state"] == "ready"
    ran = orch("strategies")
    assert "odd" in ran.out
    assert ran.err == ""
    (tmp_path / "library").unlink()
    assert orch("plugins", "check", "odd").code == 6
    assert listed(orch)["odd"]["state"] == "blocked"


def test_data_is_taken_from_where_it_is(orch: Any, site: Site, tmp_path: Path) -> None:
    taken = ("random = np", 'assert source is None or source.name == "mine"; random = np')
    far = ("embedded=True", "embedded=False")
    site.plant("afar", changed(GOOD_DATASET, taken, far))
    ran = orch("plugins", "check", "afar")
    assert (ran.code, ran.err) == (0, "")
    assert "not run  serves, labels, every-class, images, apart, order: its data is not" in ran.out
    (tmp_path / "mine").touch()
    ran = orch("plugins", "check", "afar", "--from", "mine")
    assert ran.code == 0, ran.out
    assert "not run" not in ran.out
    assert orch("datasets", "add", "afar", "--from", "mine").code == 0
    ran = orch("plugins", "check", "afar")
    assert ran.code == 0, ran.out
    assert "not run  digest: it takes what it is made from: orch plugins check afar" in ran.out
    assert "ok       images" in ran.out


def test_what_cannot_be_checked_is_said(orch: Any, site: Site) -> None:
    ran = orch("plugins", "check", "digit")
    assert ran.code == 3
    assert "no plugin is called 'digit' (did you mean digits" in ran.err
    ran = orch("plugins", "check", "digits", "--kind", "set")
    assert ran.code == 2
    assert "--kind is 'set' (did you mean dataset?)" in ran.err
    ran = orch("plugins", "check", "digits", "--from", "nowhere")
    assert ran.code == 4
    assert "nowhere does not exist; nothing was checked" in ran.err
    site.plant("both", GOOD_DATASET, module="planted_both_d")
    site.plant("both", GOOD_STRATEGY, STRATEGIES, module="planted_both_s")
    ran = orch("plugins", "check", "both")
    assert ran.code == 2
    assert "'both' is a dataset and a strategy" in ran.err
    assert "orch plugins check both --kind dataset" in ran.err
    site.plant("shape", "Plugin = dict", "orch.kinds")
    ran = orch("plugins", "check", "shape")
    assert ran.code == 2
    assert "'shape' is a kind: there are no checks for one" in ran.err


# ── new ones ────────────────────────────────────────────────────────────────────────────────


def install(site: Site, folder: Path) -> Path:
    """Plant what `pip install -e` would: metadata, and the folder of the module."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    about = site.folder / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = [
        f"[{group}]\n" + "\n".join(f"{name} = {target}" for name, target in brought.items())
        for group, brought in project["entry-points"].items()
    ]
    (about / "entry_points.txt").write_text("\n".join(points))
    return folder / "src"


@pytest.mark.parametrize("kind", ["dataset", "strategy"])
def test_a_new_plugin_passes_before_the_first_edit(
    orch: Any, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    ran = orch("plugins", "new", kind, f"tried-{kind}")
    assert (ran.code, ran.out) == (0, ""), ran.err
    assert f"  orch plugins check tried-{kind}\n" in ran.err
    folder = tmp_path / f"orch-tried-{kind}"
    monkeypatch.syspath_prepend(install(site, folder))
    registry.forget()
    assert listed(orch)[f"tried-{kind}"]["state"] == "ready"
    ran = orch("plugins", "check", f"tried-{kind}")
    assert ran.code == 0, ran.out
    assert {line.split()[0] for line in ran.out.splitlines()} == {"ok"}
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert f"{13 if kind == 'dataset' else 6} passed" in done.stdout


def test_a_new_plugin_is_as_ruff_likes_it(orch: Any, tmp_path: Path) -> None:
    ruff = Path(sys.executable).parent / "ruff"
    for kind in ("dataset", "strategy"):
        for name in (f"x{kind[0]}", "a-name-that-is-very-long-in-" + kind[:2]):
            folder = tmp_path / name
            assert orch("plugins", "new", kind, name, "--to", str(folder)).code == 0
            for words in (["format", "--check", "--diff"], ["check", "--select", "E,F,I,B,UP,D1"]):
                done = subprocess.run(
                    [ruff, *words, folder], cwd=folder, capture_output=True, text=True
                )
                assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_new_plugin_is_typed(orch: Any, tmp_path: Path) -> None:
    roots = [str(Path(__file__).parents[2] / each) for each in ("orchestrator", "plugins")]
    roots += [str(Path(__file__).parents[2] / each) for each in ("datasets", "db")]
    settings = {"typeCheckingMode": "strict", "include": ["."], "extraPaths": roots}
    for kind in ("dataset", "strategy"):
        orch("plugins", "new", kind, f"tried-{kind}", "--to", str(tmp_path / "all" / kind))
        settings["extraPaths"].append(str(tmp_path / "all" / kind / "src"))
    (tmp_path / "all" / "pyrightconfig.json").write_text(json.dumps(settings))
    pyright = Path(sys.executable).parent / "pyright"
    done = subprocess.run(
        [pyright, "--pythonpath", sys.executable],
        cwd=tmp_path / "all",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name", ["Birds", "my_data", "-x", "x-", "a--b", "1st", "", "a b", "../x", "é", "x" * 31]
)
def test_bad_names_are_refused(orch: Any, tmp_path: Path, name: str) -> None:
    ran = orch("plugins", "new", "dataset", "--", name)
    assert ran.code == 2
    assert f"{name!r} is no name for a dataset: lower-case letters" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("dataset", "digits"), "'digits' is taken: it is a dataset of orch-sweeps"),
        (("strategy", "fine-tune"), "'fine-tune' is taken: it is a strategy of orch-sweeps"),
        (("dataset", "sweeps"), "'sweeps' is taken: a package of that name is installed"),
        (("dataset", "plugins"), "'plugins' is taken: a package of that name is installed"),
        (("dataset", "birds", "--to", "full"), "full is not empty; nothing was written"),
        (("strategy", "birds", "--to", "full/file"), "full/file is a file; nothing was written"),
    ],
)
def test_what_is_taken_is_refused(
    orch: Any, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    ran = orch("plugins", "new", *words)
    assert ran.code == 2
    assert says in ran.err
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "file"]


def test_a_folder_that_cannot_be_written_is_said(orch: Any) -> None:
    ran = orch("plugins", "new", "dataset", "birds", "--to", "/proc/birds")
    assert ran.code == 5
    assert "/proc/birds" in ran.err
    assert "--to FOLDER" in ran.err
