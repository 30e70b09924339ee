from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from orch import settings
from orch.errors import UsageError
from orch.settings import Origin, Settings

Trace = Callable[..., dict[str, Origin]]


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    """Resolve the settings from a text for each file and a mapping for flags and environment."""

    def resolve(
        flags: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        project: str = "",
        user: str = "",
    ) -> dict[str, Origin]:
        (tmp_path / "orch.toml").write_text(project)
        (tmp_path / "config.toml").write_text(user)
        return settings.trace(flags, environment or {}, tmp_path, tmp_path / "config.toml")

    return resolve


def _refused(trace: Trace, *words: str, **where: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        trace(**where)
    assert caught.value.exit_code == 2
    for word in words:
        assert word in caught.value.message
    return caught.value


# ── which one wins ──────────────────────────────────────────────────────────────────────────


def test_everything_has_a_default(trace: Trace) -> None:
    origins = trace()
    assert set(origins) == {entry.name for entry in dataclasses.fields(Settings)}
    assert {origin.source for origin in origins.values()} == {"default"}
    assert origins["home"].value == platformdirs.user_data_dir("orch")
    assert origins["trials"] == Origin(20, "default")


def test_the_nearer_source_wins_and_is_recorded(trace: Trace, tmp_path: Path) -> None:
    everywhere: dict[str, Any] = {
        "flags": {"trials": 1},
        "environment": {"ORCH_TRIALS": "2"},
        "project": "trials = 3",
        "user": "trials = 4",
    }
    expected = [
        ("flags", Origin(1, "flag")),
        ("environment", Origin(2, "ORCH_TRIALS")),
        ("project", Origin(3, str(tmp_path / "orch.toml"))),
        ("user", Origin(4, str(tmp_path / "config.toml"))),
    ]
    for source, origin in expected:
        assert trace(**everywhere)["trials"] == origin
        del everywhere[source]
    assert trace()["trials"] == Origin(20, "default")


def test_each_setting_is_decided_on_its_own(trace: Trace) -> None:
    origins = trace({"seed": 7}, {"ORCH_SAMPLER": "random"}, project="trials = 3")
    assert (origins["seed"].value, origins["sampler"].value, origins["trials"].value) == (
        7,
        "random",
        3,
    )


def test_a_flag_of_none_was_not_given(trace: Trace) -> None:
    assert trace({"trials": None}, {"ORCH_TRIALS": "2"})["trials"] == Origin(2, "ORCH_TRIALS")


def test_a_flag_of_zero_was_given(trace: Trace) -> None:
    assert trace({"seed": 0}, {"ORCH_SEED": "9"})["seed"] == Origin(0, "flag")


def test_an_empty_variable_was_not_given(trace: Trace) -> None:
    assert trace(environment={"ORCH_TRIALS": ""}, project="trials = 3")["trials"].value == 3


@pytest.mark.parametrize("name", [entry.name for entry in dataclasses.fields(Settings)])
def test_every_setting_has_a_variable_of_its_name(trace: Trace, name: str) -> None:
    words = {"sampler": "grid", "pruner": "median", "database_url": "sqlite:///x"}
    raw = words.get(name, "1")
    origin = trace(environment={f"ORCH_{name.upper()}": raw})[name]
    assert origin.source == f"ORCH_{name.upper()}" == settings.variable(name)
    assert type(origin.value) is type(getattr(Settings(), name))
    assert origin.value == type(origin.value)(raw)


def test_ray_address_is_rays_own_variable_too(trace: Trace) -> None:
    environment = {"RAY_ADDRESS": "ray:1", "ORCH_RAY_ADDRESS": "orch:1"}
    project = 'ray_address = "file:1"'
    assert trace({"ray_address": "flag:1"}, environment)["ray_address"] == Origin("flag:1", "flag")
    origin = trace(environment=environment, project=project)["ray_address"]
    assert origin == Origin("orch:1", "ORCH_RAY_ADDRESS")
    del environment["ORCH_RAY_ADDRESS"]
    origin = trace(environment=environment, project=project)["ray_address"]
    assert origin == Origin("ray:1", "RAY_ADDRESS")
    assert trace(project=project)["ray_address"].value == "file:1"


def test_load_gives_the_values(tmp_path: Path) -> None:
    found = settings.load({"trials": 3}, {"ORCH_SEED": "5"}, tmp_path, tmp_path / "absent.toml")
    assert (found.trials, found.seed, found.sampler) == (3, 5, "tpe")


def test_without_arguments_the_process_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = settings.user_config()
    user.parent.mkdir(parents=True)
    user.write_text("seed = 8\ntrials = 8")
    (tmp_path / "orch.toml").write_text("trials = 9\nconcurrent = 9")
    monkeypatch.setenv("ORCH_CONCURRENT", "10")
    found = settings.load()
    assert (found.seed, found.trials, found.concurrent) == (8, 9, 10)
    assert found.home == str(tmp_path / "home")


# ── what is refused ─────────────────────────────────────────────────────────────────────────


def test_a_word_where_a_number_belongs_names_the_variable(trace: Trace) -> None:
    error = _refused(
        trace,
        "trials",
        "ORCH_TRIALS",
        "'many'",
        "a whole number",
        environment={"ORCH_TRIALS": "many"},
    )
    assert "orch config" in error.hint


def test_a_word_where_a_number_belongs_names_the_file(trace: Trace, tmp_path: Path) -> None:
    _refused(trace, "seed", str(tmp_path / "orch.toml"), "'x'", project='seed = "x"')
    _refused(
        trace,
        "gpus_per_trial",
        str(tmp_path / "config.toml"),
        "a number",
        user='gpus_per_trial="x"',
    )


def test_a_value_that_does_not_count_is_not_read(trace: Trace) -> None:
    assert trace({"trials": 3}, {"ORCH_TRIALS": "many"})["trials"].value == 3


@pytest.mark.parametrize("text", ["trials = [1]", "trials = inf", "seed = {}"])
def test_a_value_of_another_kind_is_refused(trace: Trace, text: str) -> None:
    _refused(trace, text.split()[0], project=text)


@pytest.mark.parametrize(
    "text", ["trials = 1.5", "trials = true", "home = ['a']", "gpus_per_trial = nan"]
)
def test_a_value_is_not_bent_to_the_type(trace: Trace, text: str) -> None:
    _refused(trace, text.split()[0], project=text)


@pytest.mark.parametrize(
    ("environment", "least"),
    [
        ({"ORCH_TRIALS": "0"}, "1"),
        ({"ORCH_SEED": "-1"}, "0"),
        ({"ORCH_CONCURRENT": "-2"}, "0"),
        ({"ORCH_GPUS_PER_TRIAL": "-2"}, "-1"),
    ],
)
def test_a_number_below_the_least_is_refused(
    trace: Trace, environment: dict[str, str], least: str
) -> None:
    (name,) = environment
    _refused(trace, name, environment[name], f"the least is {least}", environment=environment)


def test_an_unknown_name_in_a_file_brings_the_nearest(trace: Trace, tmp_path: Path) -> None:
    project, user = str(tmp_path / "orch.toml"), str(tmp_path / "config.toml")
    _refused(trace, project, "'trails'", "did you mean trials", project="trails = 3")
    _refused(trace, user, "'smapler'", "did you mean sampler", user="smapler = 'tpe'")


def test_a_name_like_no_other_brings_the_known_ones(trace: Trace) -> None:
    _refused(trace, "'qqq'", "known: ", "weights_dir", project="qqq = 3")


def test_a_choice_that_is_none_brings_the_nearest(trace: Trace) -> None:
    _refused(
        trace, "sampler", "ORCH_SAMPLER", "'tpee'", "mean tpe", environment={"ORCH_SAMPLER": "tpee"}
    )
    _refused(trace, "pruner", "'hyperbnad'", "mean hyperband", project="pruner = 'hyperbnad'")
    _refused(trace, "sampler", "known: cmaes, gp, grid, random, tpe", project="sampler = 5")


def test_a_file_that_is_no_toml_is_named(trace: Trace, tmp_path: Path) -> None:
    _refused(trace, str(tmp_path / "orch.toml"), "cannot be read", project="trials 3")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "orch.toml").write_bytes(b"seed = 1 # \xff")
    with pytest.raises(UsageError, match=r"orch\.toml cannot be read") as caught:
        settings.load({}, {}, tmp_path, tmp_path / "absent.toml")
    assert caught.value.exit_code == 2


# ── words for yes and no ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1", True),
        ("true", True),
        ("True", True),
        ("YES", True),
        ("0", False),
        ("false", False),
        ("No", False),
    ],
)
def test_words_for_yes_and_no(trace: Trace, word: str, value: bool) -> None:
    origins = trace(environment={"ORCH_VERIFY_STORE": word})
    assert origins["verify_store"] == Origin(value, "ORCH_VERIFY_STORE")


@pytest.mark.parametrize("word", ["maybe", "2", "on", "-1"])
def test_other_words_are_neither(trace: Trace, word: str) -> None:
    _refused(
        trace,
        "verify_store",
        "ORCH_VERIFY_STORE",
        repr(word),
        "true or false",
        environment={"ORCH_VERIFY_STORE": word},
    )


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("0", False)])
def test_a_file_says_yes_and_no_as_toml_does(trace: Trace, text: str, value: bool) -> None:
    assert trace(project=f"verify_store = {text}")["verify_store"].value is value


# ── sizes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("20GB", 20 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("200 mb", 2 * 10**8),
        (" .5g ", 5 * 10**8),
        ("36000", 36000),
    ],
)
def test_a_size_may_have_a_unit(trace: Trace, said: str, meant: int) -> None:
    assert trace(environment={"ORCH_CACHE_BYTES": said})["cache_bytes"].value == meant
    assert trace(project=f"cache_bytes = '{said}'")["cache_bytes"].value == meant
    assert trace(project=f"cache_bytes = {meant}")["cache_bytes"].value == meant


@pytest.mark.parametrize(
    "said",
    ["banana", "20 bananas", "-5", "1e9", "nan", "1,5GB", "50%", "20 GB of it", "1.2.3", "٣GB"],
)
def test_what_is_no_size_is_refused(trace: Trace, said: str) -> None:
    words = ("cache_bytes in ORCH_CACHE_BYTES", repr(said), "not a size, such as 20GB")
    _refused(trace, *words, environment={"ORCH_CACHE_BYTES": said})
