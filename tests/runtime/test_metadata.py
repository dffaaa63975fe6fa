import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntm.runtime.metadata import InitialState, Metadata, MetadataError

PROPS = {
    "schema_version": "6",
    "graph": "unrolled",
    "unroll": "32",
    "model_name": "copy-8bit",
    "task": '{"name": "copy", "options": {"bits": 8, "pattern": "random"}}',
    "config": (
        '{"input_size": 9, "output_size": 8, "memory_locations": 4, "memory_vector_size": 2, "read_heads": 1, '
        '"write_heads": 1}'
    ),
    "content_addressing": "true",
    "initial_state": '{"memory": [1e-06, 0], "weights": [[1.0], [1.0]], "reads": [[0.0, 0.0]]}',
    "training": "{}",
    "checkpoint_sha256": "0123456789abcdef" * 4,
}

# As float32 numbers are: JSON must give each back exactly.
# TensorFlow and onnxruntime, in the same process, may have switched subnormal numbers off.
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)
names = st.text(min_size=1).filter(lambda name: name.strip() and name.isprintable())


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
        task={"name": draw(names), "options": draw(st.dictionaries(st.text(), json_values))},
        config={
            "input_size": draw(sizes),
            "output_size": draw(sizes),
            "memory_locations": p + draw(st.integers(0, 1000)),
            "memory_vector_size": m,
            "read_heads": r,
            "write_heads": k,
            "controller_sizes": (3, 4),
        },
        content_addressing=draw(st.booleans()),
        initial_state=InitialState(vectors(1, m)[0], vectors(r + k, p), vectors(r, m)),
        training=draw(st.dictionaries(st.text(), json_values)),
        checkpoint_sha256=draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
    )


@given(metadata())
def test_what_is_written_is_what_is_read(data: Metadata) -> None:
    props = data.to_props()
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in props.items())
    assert Metadata.from_props(props) == data


@given(
    json_values
    | st.fixed_dictionaries({"name": json_values, "options": json_values})
    | st.fixed_dictionaries({"name": names, "options": st.dictionaries(st.text(), json_values)})
)
def test_any_task_is_read_back_or_refused(task: Any) -> None:
    name, options = (task.get("name"), task.get("options")) if isinstance(task, dict) else (None, None)
    props = PROPS | {"task": json.dumps(task)}
    if isinstance(name, str) and name.strip() and name.isprintable() and isinstance(options, dict):
        data = Metadata.from_props(props)
        assert (data.task, data.task_name, data.task_options) == (task, name, options)
        assert Metadata.from_props(data.to_props()) == data
    else:
        with pytest.raises(MetadataError):
            Metadata.from_props(props)


@given(st.text())
def test_a_task_that_is_any_text_is_read_back_or_refused(text: str) -> None:
    """Hardly any of these is JSON, and none of them a task; no other exception may come of it."""
    with pytest.raises(MetadataError):
        Metadata.from_props(PROPS | {"task": text})


_circular: list[Any] = []
_circular.append(_circular)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), b"bytes", {1, 2}, object(), 10**5000, _circular],
    ids=lambda value: type(value).__name__,
)
def test_options_that_json_cannot_hold_are_refused_when_they_are_written(value: Any) -> None:
    """Of a task of the user's, whose fields may be anything."""
    task = {"name": "Parity", "options": {"option": value}}
    with pytest.raises(MetadataError) as error:
        dataclasses.replace(Metadata.from_props(PROPS), task=task)
    assert "\n" not in str(error.value)


def test_sizes_and_the_task_are_read_by_name() -> None:
    data = Metadata.from_props(PROPS)
    assert (data.input_size, data.output_size) == (9, 8)
    assert (data.task_name, data.task_options) == ("copy", {"bits": 8, "pattern": "random"})
    assert data.content_addressing is True


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
        ("schema_version", "5"),
        ("schema_version", "7"),
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
        ("config", _config(input_size="9")),
        ("config", _config(output_size=8.0)),
        ("config", _config(output_size=0)),
        ("config", _config(read_heads=True)),
        ("config", _config(memory_locations=0)),
        ("config", _config(memory_locations=10**12)),
        ("config", _config(memory_vector_size=3)),
        ("task", ""),
        ("task", "null"),
        ("task", '"copy"'),
        ("task", "[" * 100_000),
        ("task", '{"name": "copy"}'),
        ("task", '{"options": {}}'),
        ("task", '{"name": "", "options": {}}'),
        ("task", '{"name": "two\\nlines", "options": {}}'),
        ("task", '{"name": "copy", "options": []}'),
        ("task", '{"name": "copy", "options": {"bits": NaN}}'),
        ("content_addressing", ""),
        ("content_addressing", "null"),
        ("content_addressing", "1"),
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
