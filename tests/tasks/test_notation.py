"""Options and sizes as users write them."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntm.errors import TaskError
from ntm.tasks.notation import parse_options, parse_ranges, parse_size, parse_stages
from ntm.tasks.task import describe

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True) | st.sampled_from(["length", "Länge", "長さ"])
NUMBERS = st.integers(0, 999_999_999)
SIZES = st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=4)
# Denormal numbers are 0 in a process in which a command has run onnxruntime.
FLOATS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
VALUES = st.none() | st.booleans() | st.integers() | FLOATS | st.text()
# Anything, and what looks like something right.
TEXTS = st.text() | st.text("ab=-,0123 \"'[]{}", max_size=20)
SPACE = st.sampled_from(["", " ", "\t "])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("bits=16", 16),
        ("bits=-1", -1),
        ("bits=0.5", 0.5),
        ("bits=true", True),
        ("bits=null", None),
        ('bits="16"', "16"),
        ("bits=sparse", "sparse"),
        ("bits=", ""),
        ("bits=a=b", "a=b"),
        ("bits=[1, 2]", [1, 2]),
        ("bits=[1, 2", "[1, 2"),
        (" bits =16", 16),
    ],
)
def test_the_value_of_an_option_is_json_or_else_a_text(text: str, value: Any) -> None:
    (parsed,) = parse_options([text]).values()
    assert parsed == value
    assert type(parsed) is type(value)
    assert list(parse_options([text])) == ["bits"]


def test_there_may_be_any_number_of_options() -> None:
    assert parse_options([]) == {}
    assert parse_options(["bits=4", "pattern=ones"]) == {"bits": 4, "pattern": "ones"}


@pytest.mark.parametrize("text", ["", "bits", "=4", "a b=4", "1a=4", "--bits=4", "bits-2=4", "bits:4"])
def test_an_option_is_a_name_and_a_value(text: str) -> None:
    with pytest.raises(TaskError) as refused:
        parse_options([text])
    assert str(refused.value) == f"an option of a task is NAME=VALUE, not {text!r}"


def test_an_option_is_given_once() -> None:
    with pytest.raises(TaskError, match=r"^the option bits is given twice$"):
        parse_options(["bits=4", "pattern=ones", " bits=4"])


@pytest.mark.parametrize("value", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000])
def test_a_value_that_json_cannot_hold_is_a_text(value: str) -> None:
    assert parse_options([f"bits={value}"])["bits"] == value


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_options_come_back(options: dict[str, Any]) -> None:
    assert parse_options([f"{name}={json.dumps(value)}" for name, value in options.items()]) == options


@settings(deadline=None)
@given(SIZES, st.data())
def test_sizes_come_back(size: dict[str, int], data: st.DataObject) -> None:
    assert parse_size(describe(size)) == size
    spaced = [
        f"{data.draw(SPACE)}{name}{data.draw(SPACE)}={data.draw(SPACE)}{number}{data.draw(SPACE)}"
        for name, number in size.items()
    ]
    assert parse_size(",".join(spaced)) == size
    assert list(parse_size(describe(size))) == list(size)


@settings(deadline=None)
@given(SIZES)
def test_a_size_is_a_range_of_one_number(size: dict[str, int]) -> None:
    assert parse_ranges([describe(size)]) == {name: (number, number) for name, number in size.items()}


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.tuples(NUMBERS, NUMBERS).map(sorted).map(tuple), min_size=1, max_size=4))
def test_ranges_come_back(ranges: dict[str, tuple[int, int]]) -> None:
    texts = [f"{name}={least}-{most}" for name, (least, most) in ranges.items()]
    assert parse_ranges(texts) == parse_ranges([",".join(texts)]) == ranges


def test_ranges_by_hand() -> None:
    assert parse_ranges([]) == {}
    assert parse_ranges(["length=1-20"]) == {"length": (1, 20)}
    assert parse_ranges(["length=1-20,repeats=3", "items=007"]) == {
        "length": (1, 20),
        "repeats": (3, 3),
        "items": (7, 7),
    }


@pytest.mark.parametrize("text", ["", "length", "=3", "length=3,", ",length=3", "a b=3", "2=3", "length:3", "20"])
def test_a_size_is_a_name_and_a_number(text: str) -> None:
    with pytest.raises(TaskError) as refused:
        parse_size(text)
    assert str(refused.value) == f"a size is NAME=NUMBER, not {text!r}"
    with pytest.raises(TaskError) as refused:
        parse_ranges([text])
    assert str(refused.value) == f"a size is NAME=LEAST-MOST, not {text!r}"


@pytest.mark.parametrize("value", ["", "x", "-3", "+3", "1.5", "1e3", "1_000", "3 3", "²", "٣", "1234567890", "3=3"])
def test_a_size_is_a_whole_number(value: str) -> None:
    text = f"length={value}"
    with pytest.raises(TaskError) as refused:
        parse_size(text)
    assert str(refused.value) == f"a size is a whole number, not {value!r} in {text!r}"


@pytest.mark.parametrize("value", ["", "x", "-3", "3-", "-", "1-2-3", "1--3", "1 - 3", "1-1234567890", "1.5-2", "x-3"])
def test_both_ends_of_a_range_are_whole_numbers(value: str) -> None:
    with pytest.raises(TaskError, match=r"^a size is a whole number, not '.*' in 'length="):
        parse_ranges([f"length={value}"])


def test_a_range_goes_up() -> None:
    assert parse_ranges(["length=3-3"]) == {"length": (3, 3)}
    with pytest.raises(TaskError, match=r"^the size length must not go from a larger number to a smaller one: 4-3$"):
        parse_ranges(["length=4-3"])


def test_a_size_is_named_once() -> None:
    for call in (parse_size, lambda text: parse_ranges([text])):
        with pytest.raises(TaskError, match=r"^a size names a number twice: 'length=3,length=3'$"):
            call("length=3,length=3")
    with pytest.raises(TaskError, match=r"^the size length is given twice$"):
        parse_ranges(["length=3", "length=3"])


@settings(deadline=None, max_examples=200)
@given(TEXTS, TEXTS)
def test_whatever_is_typed_there_is_an_answer_or_a_task_error(one: str, other: str) -> None:
    for parse in (parse_options, parse_ranges, lambda texts: parse_size(texts[0])):
        try:
            parsed = parse([one, other])
        except TaskError as refused:
            assert str(refused).isprintable()  # noqa: PT017
        else:
            assert all(name.isidentifier() for name in parsed)
            assert one.partition("=")[0].strip() in parsed


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(["a", "b2", "_", "=", "=", "-", ",", "0", "12", "34567", " "]), max_size=12).map("".join)
)
def test_what_follows_the_grammar_is_read_and_nothing_else(text: str) -> None:
    name, number = r" *[a-z_][a-z0-9_]* *", r"\d{1,9}"
    pairs = [pair.partition("=") for pair in text.split(",")]
    different = len({name.strip() for name, _, _ in pairs}) == len(pairs)
    if different and re.fullmatch(f"{name}= *{number} *(,{name}= *{number} *)*", text):
        assert parse_size(text) == {name.strip(): int(value) for name, _, value in pairs}
    else:
        with pytest.raises(TaskError):
            parse_size(text)
    ends = [(value + "-" + value if "-" not in value else value).split("-") for _, _, value in pairs]
    form = f"{name}= *{number}(-{number})? *"
    if different and re.fullmatch(f"{form}(,{form})*", text) and all(int(least) <= int(most) for least, most in ends):
        expected = [(int(least), int(most)) for least, most in ends]
        assert list(parse_ranges([text]).values()) == expected
    else:
        with pytest.raises(TaskError):
            parse_ranges([text])


@given(stages=st.dictionaries(NAMES, st.lists(NUMBERS, min_size=1, max_size=4), max_size=3))
def test_stages_are_read_as_they_are_written(stages: dict[str, list[int]]) -> None:
    texts = [f"{name}={','.join(map(str, most))}" for name, most in stages.items()]
    assert parse_stages(texts) == {name: tuple(most) for name, most in stages.items()}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["length"], "a curriculum is NAME=MOST,MOST,..., not 'length'"),
        (["=5,10"], "a curriculum is NAME=MOST,MOST,..., not '=5,10'"),
        (["length=5,ten"], "a size is a whole number, not 'ten' in 'length=5,ten'"),
        (["length=5,"], "a size is a whole number, not '' in 'length=5,'"),
        (["length=5", "length=6"], "the curriculum of length is given twice"),
    ],
)
def test_stages_that_are_none_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(TaskError, match=re.escape(message)):
        parse_stages(texts)
