from __future__ import annotations

import importlib.util
import itertools
import json
import math
import random
from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orch import search, space
from orch.errors import UsageError
from orch.search import Search, Tried
from orch.settings import Pruner, Sampler
from orch.space import Choice, Domain, Fixed, Int, Log, Uniform, Value
from orch.trials import Objective

SAMPLERS = [name for name in get_args(Sampler) if name != "gp"]
PRUNERS = get_args(Pruner)
MIXED: dict[str, Domain] = {
    "rate": Log(1e-5, 1e-2),
    "drop": Uniform(0.0, 0.5),
    "units": Int(0, 64),
    "kind": Choice(("adam", "sgd")),
    "epochs": Fixed(3),
}
FIRST: dict[str, Value] = {"rate": 1e-4, "drop": 0.0, "units": 8, "kind": "sgd", "epochs": 3}


def make(
    domains: Mapping[str, Domain] = MIXED,
    first: Mapping[str, Value] | None = None,
    sampler: Sampler = "tpe",
    pruner: Pruner = "none",
    seed: int = 0,
    direction: Any = "maximize",
    **past: Any,
) -> Search:
    if first is None:
        first = FIRST if domains is MIXED else {n: space.extremes(d)[0] for n, d in domains.items()}
    return Search(domains, first, Objective("m", direction), sampler, pruner, seed, **past)


def score(params: Mapping[str, Value]) -> float:
    """A result that depends on the configuration alone."""
    return sum(value for value in params.values() if isinstance(value, float | int))


def run(searching: Search, count: int, start: int = 0) -> list[dict[str, Value]]:
    """Run trials one after the other until the space or the count ends."""
    done = []
    for number in range(start, start + count):
        params = searching.suggest(number)
        if params is None:
            break
        done.append(params)
        searching.report(number, 1, score(params))
        searching.finish(number, "completed", score(params))
    return done


def key(params: Mapping[str, Value]) -> str:
    return json.dumps(params, sort_keys=True)


# ── what is suggested ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random"])
def test_the_default_comes_first(sampler: Sampler) -> None:
    assert make(sampler=sampler).suggest(0) == FIRST


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_default_outside_the_space_is_not_suggested(sampler: Sampler) -> None:
    domains = {"n": Int(1, 4)}
    done = run(make(domains, {"n": 9}, sampler), 10)
    assert sorted(params["n"] for params in done) == [1, 2, 3, 4]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_suggestion_is_complete_and_lies_in_its_domains(sampler: Sampler) -> None:
    done = run(make(sampler=sampler), 25)
    assert len(done) == 25
    for params in done:
        assert list(params) == list(MIXED)
        for name, value in params.items():
            assert space.contains(MIXED[name], value)
        assert isinstance(params["units"], int)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_is_suggested_twice(sampler: Sampler) -> None:
    done = run(make(sampler=sampler), 40)
    assert len(set(map(key, done))) == 40


def _decided(sampler: Sampler, pruner: Pruner, seed: int) -> list[object]:
    """Everything that a search of 40 trials decides when it is told the same results."""
    searching = make(sampler=sampler, pruner=pruner, seed=seed)
    decided: list[object] = []
    for number in range(40):
        params = searching.suggest(number)
        assert params is not None
        stopped = any(
            searching.report(number, epoch, score(params) * epoch) for epoch in range(1, 10)
        )
        ending = ("pruned", None) if stopped else ("completed", score(params))
        searching.finish(number, *ending)
        decided += [params, stopped]
    return decided


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        *((sampler, "none") for sampler in SAMPLERS),
        ("tpe", "asha"),
        ("cmaes", "asha"),
        ("tpe", "median"),
        pytest.param(
            "tpe",
            "hyperband",
        ),
    ],
)
def test_the_same_seed_decides_the_same(sampler: Sampler, pruner: Pruner) -> None:
    assert _decided(sampler, pruner, 3) == _decided(sampler, pruner, 3)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random"])
def test_another_seed_suggests_otherwise(sampler: Sampler) -> None:
    one, other = run(make(sampler=sampler, seed=1), 5), run(make(sampler=sampler, seed=2), 5)
    assert one[0] == other[0] == FIRST
    assert not set(map(key, one[1:])) & set(map(key, other[1:]))


# ── spaces that end ─────────────────────────────────────────────────────────────────────────

FINITE = st.dictionaries(
    st.sampled_from("abc"),
    st.one_of(
        st.integers(2, 4).map(lambda high: Int(1, high)),
        st.lists(
            st.sampled_from(["x", "y", 1, 2.5, True]), min_size=1, max_size=3, unique_by=repr
        ).map(lambda values: Choice(tuple(values))),
        st.just(Fixed("z")),
    ),
    min_size=1,
)


@pytest.mark.parametrize("sampler", SAMPLERS)
@given(domains=FINITE, seed=st.integers(0, 99), data=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_a_finite_space_is_exhausted_whatever_happens(
    sampler: Sampler, domains: dict[str, Domain], seed: int, data: random.Random
) -> None:
    size = math.prod(space.size(domain) or 0 for domain in domains.values())
    searching = make(domains, sampler=sampler, pruner="asha", seed=seed)
    seen: set[str] = set()
    running: list[int] = []
    for number in itertools.count():
        params = searching.suggest(number)
        if params is None:
            break
        assert key(params) not in seen
        seen.add(key(params))
        running.append(number)
        if data.random() < 0.6:
            ending = data.choice(["completed", "pruned", "infeasible", "failed"])
            value = data.random()
            at = running.pop(data.randrange(len(running)))
            searching.report(at, 1, value)
            searching.finish(at, ending, value if ending == "completed" else None)
    assert len(seen) == size
    for at in running:
        searching.finish(at, "completed", 0.5)
    assert searching.suggest(len(seen)) is None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_of_one_configuration_is_tried_once(sampler: Sampler) -> None:
    assert run(make({"a": Fixed(1), "b": Choice(("x",))}, sampler=sampler), 5) == [
        {"a": 1, "b": "x"}
    ]


# ── samplers ────────────────────────────────────────────────────────────────────────────────


def test_gp_without_pytorch_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else found(name)
    )
    with pytest.raises(UsageError, match="gp sampler needs PyTorch") as caught:
        make(sampler="gp")
    assert caught.value.exit_code == 2
    assert "nothing was started" in caught.value.message
    assert "orch-sweeps[gp]" in caught.value.hint


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
@pytest.mark.parametrize(("direction", "goal"), [("maximize", 1.0), ("minimize", 0.0)])
def test_a_sampler_learns(sampler: Sampler, direction: str, goal: float) -> None:
    domains: dict[str, Domain] = {"x": Uniform(0.0, 1.0), "y": Uniform(0.0, 1.0)}
    done = run(make(domains, {"x": 0.5, "y": 0.5}, sampler, direction=direction), 60)
    late = [value for params in done[-15:] for value in params.values()]
    assert abs(sum(late) / len(late) - goal) < 0.2


def test_a_grid_has_points_on_each_scale() -> None:
    made = search.grid(
        {
            "rate": Log(1e-4, 1.0),
            "drop": Uniform(0.0, 1.0),
            "units": Int(1, 9),
            "kind": Choice(("a", "b")),
            "one": Fixed(3),
        }
    )
    assert space.extremes(made["rate"]) == pytest.approx((1e-4, 1e-3, 1e-2, 1e-1, 1.0))
    assert made["drop"] == Choice((0.0, 0.25, 0.5, 0.75, 1.0))
    assert (made["units"], made["kind"], made["one"]) == (Int(1, 9), Choice(("a", "b")), Fixed(3))


def test_every_point_of_a_grid_lies_in_its_range() -> None:
    domain = Uniform(8.7e-06, 2.61e-05)
    points = space.extremes(search.grid({"x": domain})["x"])
    assert [point for point in points if not space.contains(domain, point)] == []


def test_the_grid_sampler_tries_every_combination() -> None:
    domains: dict[str, Domain] = {"rate": Log(1e-4, 1.0), "n": Int(1, 3), "one": Fixed(1)}
    done = run(make(domains, sampler="grid"), 100)
    rates = space.extremes(search.grid(domains)["rate"])
    assert done[0] == {"rate": 1e-4, "n": 1, "one": 1}
    assert sorted((params["rate"], params["n"]) for params in done) == sorted(
        itertools.product(rates, (1, 2, 3))
    )


# ── stopping early ──────────────────────────────────────────────────────────────────────────


def stopped_at(searching: Search, number: int, value: float, epochs: int = 9) -> int | None:
    """Run one trial that reports the same value; the epoch after which it was stopped."""
    assert searching.suggest(number) is not None
    for epoch in range(1, epochs + 1):
        if searching.report(number, epoch, value):
            searching.finish(number, "pruned", None)
            return epoch
    searching.finish(number, "completed", value)
    return None


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_asha_stops_the_clearly_worse_and_keeps_the_best(direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    searching = make(pruner="asha", direction=direction)
    for number in range(6):
        stopped_at(searching, number, sign * 0.5)
    assert stopped_at(searching, 6, sign * 0.1) == search.FIRST_RUNG
    assert stopped_at(searching, 7, sign * 0.9) is None


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_best_trial_is_never_stopped(pruner: Pruner) -> None:
    searching = make(pruner=pruner)
    for number in range(12):
        assert stopped_at(searching, number, 0.01 * number) is None


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_a_pruner_stops_something_but_nothing_before_the_first_rung(pruner: Pruner) -> None:
    searching = make(pruner=pruner)
    stops = [stopped_at(searching, number, 1.0 - 0.05 * number) for number in range(20)]
    assert any(stops)
    assert min(stop for stop in stops if stop) >= search.FIRST_RUNG


def test_none_never_stops_anything() -> None:
    searching = make(pruner="none")
    assert [stopped_at(searching, number, -number) for number in range(12)] == [None] * 12


# ── going on after an interruption ──────────────────────────────────────────────────────────

SIX: dict[str, Domain] = {"n": Int(1, 3), "kind": Choice(("a", "b"))}


def tried(number: int, ending: Any, value: float | None, **params: Value) -> Tried:
    return Tried(number, params, ending, value, {1: value} if value is not None else {})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_was_tried_is_not_suggested_again(sampler: Sampler) -> None:
    past = (
        tried(0, "completed", 0.4, n=1, kind="a"),
        tried(1, "failed", None, n=2, kind="a"),
        tried(2, "pruned", None, n=3, kind="b"),
        tried(3, "infeasible", None, n=1, kind="b"),
    )
    done = run(make(SIX, sampler=sampler, tried=past), 10, start=4)
    assert sorted(map(key, done)) == sorted(
        [key({"n": 2, "kind": "b"}), key({"n": 3, "kind": "a"})]
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_waits_keeps_its_number_and_is_not_suggested_again(sampler: Sampler) -> None:
    past = (tried(0, "completed", 0.4, n=1, kind="a"),)
    waiting = {2: {"n": 2, "kind": "a"}, 1: {"n": 3, "kind": "b"}}
    searching = make(SIX, sampler=sampler, pruner="asha", tried=past, waiting=waiting)
    assert searching.report(1, 1, 0.3) is False
    searching.finish(1, "completed", 0.3)
    searching.finish(2, "failed", None)
    done = run(searching, 10, start=3)
    taken = [{"n": 1, "kind": "a"}, *waiting.values()]
    assert len(done) == 3
    assert not {key(params) for params in done} & {key(params) for params in taken}


def test_the_default_is_not_put_first_again() -> None:
    params = {**FIRST, "units": 9}
    searching = make(waiting={0: params})
    assert searching.suggest(1) != FIRST
    searching = make(tried=(Tried(0, params, "completed", 0.5, {}),))
    assert searching.suggest(1) != FIRST


def test_going_on_is_as_reproducible_as_starting() -> None:
    past = tuple(
        Tried(number, params, "completed", score(params), {1: score(params)})
        for number, params in enumerate(run(make(), 12))
    )
    assert run(make(tried=past), 5, start=12) == run(make(tried=past), 5, start=12)


def test_what_was_tried_is_learnt_from() -> None:
    domains: dict[str, Domain] = {"x": Uniform(0.0, 1.0)}
    past = tuple(Tried(n, {"x": n / 30}, "completed", n / 30, {1: n / 30}) for n in range(30))
    done = run(make(domains, tried=past), 15, start=30)
    assert sum(params["x"] for params in done) / 15 > 0.75


def test_the_pruner_remembers_what_was_tried() -> None:
    reports = dict.fromkeys(range(1, 10), 0.9)
    past = tuple(Tried(n, {**FIRST, "units": n}, "completed", 0.9, reports) for n in range(9))
    assert stopped_at(make(pruner="asha", tried=past), 9, 0.1) == search.FIRST_RUNG


# ── how a trial ends ────────────────────────────────────────────────────────────────────────


def drawn_below(ending: Any, direction: str, *, reports: bool = False) -> int:
    """How often of 30 times a search tries x < 0.5, where all that looks best ends so."""
    searching = make({"x": Uniform(0.0, 1.0)}, {"x": 0.9}, direction=direction)
    below = 0
    for number in range(60):
        params = searching.suggest(number)
        assert params is not None
        value = params["x"] if direction == "minimize" else 1 - params["x"]
        if params["x"] >= 0.5:
            searching.finish(number, "completed", value)
            continue
        below += number >= 30
        if reports:
            searching.report(number, 1, value)
        searching.finish(number, ending, None)
    return below


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("reports", [False, True], ids=["at once", "after a good epoch"])
def test_not_finite_counts_as_bad(direction: str, reports: bool) -> None:
    assert drawn_below("infeasible", direction, reports=reports) < 20
    assert drawn_below("failed", direction, reports=reports) > 25  # of which nothing is learnt


def test_completed_without_a_score_is_no_result() -> None:
    searching = make(SIX)
    searching.suggest(0)
    searching.finish(0, "completed", None)
    assert len(run(searching, 10, start=1)) == 5


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_report_that_is_not_a_number_is_survived(pruner: Pruner) -> None:
    searching = make(pruner=pruner)
    for number in range(3):
        searching.suggest(number)
        for epoch in range(1, 6):
            searching.report(number, epoch, math.nan)
        searching.finish(number, "infeasible", None)
    assert len(run(searching, 3, start=3)) == 3
