from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch import space
from orch.errors import UsageError
from orch.space import Choice, Domain, Fixed, Int, Log, SpaceError, Uniform

WHOLE = st.integers(-(10**12), 10**12)
REAL = st.floats(allow_nan=False, allow_infinity=False)
WORD = st.from_regex(r"[^\s,()]+", fullmatch=True).filter(
    lambda word: not space._NUMBER.match(word) and word not in ("true", "false")
)
VALUE = st.one_of(WHOLE, REAL, WORD, st.booleans())


def _pairs(bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(bounds, min_size=2, max_size=2, unique=True).map(sorted)


DOMAIN: st.SearchStrategy[Domain] = st.one_of(
    _pairs(REAL.filter(lambda bound: bound > 0)).map(lambda pair: Log(*pair)),
    _pairs(REAL).map(lambda pair: Uniform(*pair)),
    _pairs(WHOLE).map(lambda pair: Int(*pair)),
    st.lists(VALUE, min_size=1, max_size=6, unique_by=repr).map(lambda some: Choice(tuple(some))),
    VALUE.map(Fixed),
)


@given(DOMAIN)
def test_what_is_rendered_parses_to_the_same_domain(domain: Domain) -> None:
    again = space.parse(space.render(domain))
    assert again == domain
    assert [type(value) for value in space.extremes(again)] == [
        type(value) for value in space.extremes(domain)
    ]


@given(DOMAIN)
def test_a_domain_contains_its_extremes_and_lies_within_itself(domain: Domain) -> None:
    assert all(space.contains(domain, value) for value in space.extremes(domain))
    assert space.within(domain, domain)


@given(DOMAIN, st.text(" \t", max_size=3), st.text(" \t", max_size=3))
def test_white_space_around_words_says_nothing(domain: Domain, left: str, right: str) -> None:
    text = space.render(domain)
    if not isinstance(domain, Fixed):
        for mark in "(,":
            text = text.replace(mark, f"{left}{mark}{right}")
        text = f"{text[:-1]}{left})"
    assert space.parse(f"{left}{text}{right}") == domain


@given(st.text("logintchoiceuniform(),.0159eE+- \t", max_size=30))
def test_any_text_is_a_domain_that_renders_or_an_error_of_ours(text: str) -> None:
    with suppress(SpaceError):
        domain = space.parse(text)
        assert space.parse(space.render(domain)) == domain


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("log(1e-6,1e-3)", Log(1e-6, 1e-3)),
        ("uniform(-1, .5)", Uniform(-1.0, 0.5)),
        ("int(1e1,1e2)", Int(10, 100)),
        ("choice(15, 19)", Choice((15, 19))),
        ("choice(1,1.0,true,one)", Choice((1, 1.0, True, "one"))),
        ("log (1,2)", Log(1.0, 2.0)),
        (" 32 ", Fixed(32)),
        ("+3", Fixed(3)),
        ("false", Fixed(False)),
        ("nan", Fixed("nan")),
        ("v1.2-rc", Fixed("v1.2-rc")),
    ],
)
def test_reads(text: str, domain: Domain) -> None:
    read = space.parse(text)
    assert repr(read) == repr(domain)


BAD = [
    ("", 0, "expected a value"),
    ("a b", 1, "expected a value"),
    ("a,b", 1, "expected a value"),
    ("foo)", 3, "expected a value"),
    ("(1,2)", 0, "expected a value"),
    ("1e999", 0, "too large"),
    ("log(1,2", 7, "expected ')'"),
    ("log(", 4, "expected ')'"),
    ("log(1,2)x", 8, "nothing may follow"),
    ("log(1,2))", 6, "expected a number, not '2)'"),
    ("log((1,2)", 4, "expected a number, not '(1'"),
    ("gauss(0,1)", 0, "gauss() is not a kind of search space"),
    ("  Log(1,2)", 2, "Log() is not a kind of search space"),
    ("log()", 4, "expected a value"),
    ("log(1)", 4, "log() takes two bounds, not 1"),
    ("uniform(1,2,3)", 8, "uniform() takes two bounds, not 3"),
    ("log(1,)", 6, "expected a value"),
    ("log(,1)", 4, "expected a value"),
    ("log(a,1)", 4, "expected a number, not 'a'"),
    ("log(1,  b)", 8, "expected a number, not 'b'"),
    ("uniform(0,nan)", 10, "expected a number, not 'nan'"),
    ("uniform(0,inf)", 10, "expected a number, not 'inf'"),
    ("uniform(0,-1e999)", 10, "too large"),
    ("log(0,1)", 4, "above zero"),
    ("log(-1,1)", 4, "above zero"),
    ("log(2,1)", 6, "second bound must be above the first"),
    ("int(1,1)", 6, "second bound must be above the first"),
    ("int(1,2.5)", 6, "whole numbers"),
    ("int( 1.5,2)", 5, "whole numbers"),
    ("choice()", 7, "expected a value"),
    ("choice(a,,b)", 9, "expected a value"),
    ("choice(a,  )", 11, "expected a value"),
    ("choice(a,b c)", 10, "expected a value"),
    ("choice(a,f(x))", 10, "expected a value"),
    ("choice(a,1e999)", 9, "too large"),
    ("choice(a,a)", 9, "lists a value twice"),
]


@pytest.mark.parametrize(("text", "column", "words"), BAD, ids=[text for text, *_ in BAD])
def test_an_error_points_at_the_column(text: str, column: int, words: str) -> None:
    with pytest.raises(SpaceError) as caught:
        space.parse(text)
    problem, shown, caret = caught.value.message.split("\n")
    assert words in problem
    assert words in caught.value.problem
    assert shown == f"    {text}"
    assert caret == f"{' ' * (4 + column)}^"
    assert "log(a,b)" in caught.value.hint
    assert caught.value.exit_code == UsageError.exit_code == 2


def test_leading_blanks_move_the_caret() -> None:
    with pytest.raises(SpaceError) as caught:
        space.parse("  a b")
    assert caught.value.message.endswith(f"\n{' ' * (4 + 3)}^")


def test_the_caret_points_at_what_follows_the_parenthesis() -> None:
    with pytest.raises(SpaceError) as caught:
        space.parse("log(1,2)  x")
    assert caught.value.message.endswith(f"\n{' ' * (4 + 10)}^")


def test_the_caret_points_at_the_value_that_is_listed_twice() -> None:
    with pytest.raises(SpaceError) as caught:
        space.parse("choice(a,b,b)")
    assert caught.value.message.endswith(f"\n{' ' * (4 + 11)}^")


@pytest.mark.parametrize(
    "text",
    ["9" * 5000, f"uniform(0,{'9' * 400})", f"log(1,{'9' * 400})", f"choice(1,{'9' * 5000})"],
)
def test_a_number_of_very_many_digits_is_too_large(text: str) -> None:
    with pytest.raises(SpaceError, match="too large"):
        space.parse(text)


def test_bounds_that_round_to_the_same_real_number_are_refused() -> None:
    with pytest.raises(SpaceError, match="above the first"):
        space.parse(f"uniform({2**53},{2**53 + 1})")


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Log(0.1, 1.0), [0.1, 0.5, 1, 1.0], [0.09, 2, "0.5", True]),
        (Uniform(0.0, 2.0), [0, 0.0, 1, 2], [-0.1, 2.1, "1", True, False]),
        (Int(1, 3), [1, 2, 3], [0, 4, 2.0, "2", True]),
        (Choice((0, "a", 2)), [0, "a", 2, 2.0], [1, "b", False, "0"]),
        (Choice((True,)), [True], [1, 1.0, False, "true"]),
        (Fixed(1), [1, 1.0], [True, 2, "1"]),
        (Fixed("x"), ["x"], ["y", 1]),
    ],
    ids=space.render,
)
def test_contains(domain: Domain, inside: list[space.Value], outside: list[space.Value]) -> None:
    assert [value for value in inside if not space.contains(domain, value)] == []
    assert [value for value in outside if space.contains(domain, value)] == []


def test_a_number_beyond_all_floats_lies_in_no_interval() -> None:
    assert not space.contains(Uniform(0.0, 1.0), 10**400)


@pytest.mark.parametrize(
    ("inner", "outer", "answer"),
    [
        ("uniform(0,0.5)", "uniform(0,0.95)", True),
        ("uniform(0,1)", "uniform(0,0.95)", False),
        ("int(1,64)", "int(1,65536)", True),
        ("int(0,64)", "int(1,65536)", False),
        ("uniform(1,2)", "int(1,2)", False),
        ("choice(adam,sgd)", "choice(adam,adamw,sgd,rmsprop)", True),
        ("choice(adam,adagrad)", "choice(adam,adamw,sgd,rmsprop)", False),
        ("0", "uniform(0,0.95)", True),
        ("true", "uniform(0,1)", False),
    ],
)
def test_within(inner: str, outer: str, answer: bool) -> None:
    assert space.within(space.parse(inner), space.parse(outer)) is answer


@pytest.mark.parametrize(
    ("text", "size", "extremes"),
    [
        ("log(1,2)", None, (1.0, 2.0)),
        ("uniform(0,1)", None, (0.0, 1.0)),
        ("int(3,7)", 5, (3, 7)),
        ("choice(a,b,c)", 3, ("a", "b", "c")),
        ("42", 1, (42,)),
    ],
)
def test_size_and_extremes(text: str, size: int | None, extremes: tuple[space.Value, ...]) -> None:
    domain = space.parse(text)
    assert space.size(domain) == size
    assert space.extremes(domain) == extremes
