import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntm.runtime.metadata import InitialState, Metadata, MetadataError

PROPS = {
    "schema_version": "5",
    "graph": "unrolled",
    "unroll": "32",
    "model_name": "copy-8bit",
    "config": '{"word_bits": 8, "memory_locations": 4, "memory_vector_size": 2, "read_heads": 1, "write_heads": 1}',
    "searches": "true",
    "initial_state": '{"memory": [1e-06, 0], "weights": [[1.0], [1.0]], "reads": [[0.0, 0.0]]}',
    "training": "{}",
    "checkpoint_sha256": "0123456789abcdef" * 4,
}

# As float32 numbers are: JSON must give each back exactly.
# TensorFlow and onnxruntime, in the same process, may have switched subnormal numbers off.
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
json_values = st.recursive(st.none() | st.booleans() | st.integers() | numbers | st.text(), st.lists, max_leaves=5)


@st.composite
def metadata(draw: st.DrawFn) -> Metadata:
    sizes = st.integers(1, 4)
    m, r, k, p = draw(sizes), draw(sizes), draw(sizes), draw(sizes)

    def vectors(rows: int, columns: int) -> Any:
        return draw(st.lists(st.lists(numbers, min_size=columns, max_size=columns), min_size=rows, max_size=rows))

    graph = draw(st.sampled_from(["step", "unrolled", "sparse", "batched"]))
    return Metadata(
        graph=graph,
        unroll=1 if graph == "step" else draw(st.integers(1, 1000)),
        model_name=draw(st.from_regex(r"[a-z0-9-]+", fullmatch=True)),
        config={
            "word_bits": draw(sizes),
            "memory_locations": p + draw(st.integers(0, 1000)),
            "memory_vector_size": m,
            "read_heads": r,
            "write_heads": k,
            "controller_sizes": (3, 4),
        },
        searches=draw(st.booleans()),
        initial_state=InitialState(vectors(1, m)[0], vectors(r + k, p), vectors(r, m)),
        training=draw(st.dictionaries(st.text(), json_values)),
        checkpoint_sha256=draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
    )


@given(metadata())
def test_what_is_written_is_what_is_read(data: Metadata) -> None:
    props = data.to_props()
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in props.items())
    assert Metadata.from_props(props) == data


def test_the_names_are_the_contract() -> None:
    assert set(Metadata.from_props(PROPS).to_props()) == set(PROPS)


def test_properties_beyond_the_schema_are_ignored() -> None:
    assert Metadata.from_props(PROPS | {"producer_note": "x"}) == Metadata.from_props(PROPS)


@pytest.mark.parametrize("name", PROPS)
def test_a_property_is_missing(name: str) -> None:
    with pytest.raises(MetadataError):
        Metadata.from_props({key: value for key, value in PROPS.items() if key != name})


def _config(**changes: Any) -> str:
    return json.dumps(json.loads(PROPS["config"]) | changes)


def _state(**changes: Any) -> str:
    return json.dumps(json.loads(PROPS["initial_state"]) | changes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema_version", "4"),
        ("schema_version", ""),
        ("graph", "loop"),
        ("graph", "step"),  # of 32 steps
        ("unroll", "0"),
        ("unroll", "-1"),
        ("unroll", "3.5"),
        ("unroll", "\u0663"),
        ("unroll", "9" * 5000),
        ("model_name", ""),
        ("model_name", "two\nlines"),
        ("checkpoint_sha256", "0" * 63),
        ("checkpoint_sha256", "G" * 64),
        ("training", "[]"),
        ("training", "{"),
        ("training", '{"a": NaN}'),
        ("config", ""),
        ("config", "[" * 100_000),
        ("config", "{}"),
        ("config", _config(word_bits="8")),
        ("config", _config(word_bits=8.0)),
        ("config", _config(read_heads=True)),
        ("config", _config(memory_locations=0)),
        ("config", _config(memory_locations=10**12)),
        ("config", _config(memory_vector_size=3)),
        ("searches", ""),
        ("searches", "null"),
        ("searches", "1"),
        ("initial_state", "null"),
        ("initial_state", _state(more=[])),
        ("initial_state", _state(memory=[1.0])),
        ("initial_state", _state(memory=["a", "b"])),
        ("initial_state", _state(memory="ab")),
        ("initial_state", _state(memory=[float("nan"), 0.0])),
        ("initial_state", _state(memory=[10**400, 0])),
        ("initial_state", _state(weights=[[1.0]])),
        ("initial_state", _state(weights=[[], []])),
        ("initial_state", _state(weights=[[1.0], [1.0, 0.0]])),
        ("initial_state", _state(weights=[[1.0] * 5] * 2)),  # more than there are locations
        ("initial_state", _state(reads=[0.0, 0.0])),
        ("initial_state", _state(reads=3)),
    ],
)
def test_a_property_is_wrong(name: str, value: str) -> None:
    with pytest.raises(MetadataError) as error:
        Metadata.from_props(PROPS | {name: value})
    assert "\n" not in str(error.value)


def test_writing_checks_like_reading() -> None:
    with pytest.raises(MetadataError):
        dataclasses.replace(Metadata.from_props(PROPS), unroll=0)
