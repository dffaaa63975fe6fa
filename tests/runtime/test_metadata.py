import dataclasses
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ntm.runtime.metadata import Metadata, MetadataError, StateTensor

PROPS = {
    "schema_version": "7",
    "graph": "unrolled",
    "graphs": '["step", "unrolled"]',
    "unroll": "32",
    "model_name": "copy-8bit",
    "task": '{"name": "copy", "options": {"bits": 8, "pattern": "random"}}',
    "network": "ntm",
    "config": (
        '{"input_size": 9, "output_size": 8, "memory_locations": 4, "memory_vector_size": 2, "read_heads": 1, '
        '"write_heads": 1}'
    ),
    "parameters": "17",
    "content_addressing": "true",
    "state": (
        '{"memory": {"shape": [2, "N"], "first": [[], []], "beyond": [1e-06, 0]}, '
        '"weights": {"shape": [2, "N"], "first": [[1.0], [1.0]], "beyond": [0.0, 0.0]}, '
        '"reads": {"shape": [1, 2], "first": [[0.0, 0.0]], "beyond": null}}'
    ),
    "least_locations": "2",
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
# What str.isprintable calls printable: all but separators and control characters, and the space.
names = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1).filter(str.strip)


@st.composite
def metadata(draw: st.DrawFn) -> Metadata:
    sizes = st.integers(1, 2)
    m, r, k, p = draw(sizes), draw(sizes), draw(sizes), draw(sizes)

    def vectors(rows: int, columns: int) -> Any:
        return draw(st.lists(st.lists(numbers, min_size=columns, max_size=columns), min_size=rows, max_size=rows))

    kinds = ["step", *draw(st.lists(st.sampled_from(["unrolled", "sparse", "batched"]), unique=True))]
    graph = draw(st.sampled_from(kinds))
    state = {
        "memory": StateTensor((m, "N"), vectors(m, p), vectors(1, m)[0]),
        "weights": StateTensor((r + k, "N"), vectors(r + k, p), vectors(1, r + k)[0]),
        "reads": StateTensor((r, m), vectors(r, m)),
    }
    if draw(st.booleans()):
        state["weights"] = StateTensor((r + k, "N"), ((),) * (r + k), "1/N")
    if draw(st.booleans()):
        state["cell"] = StateTensor((p,), vectors(1, p)[0])
    if draw(st.booleans()):
        state = {"hidden": StateTensor((m,), vectors(1, m)[0])}  # without heads
    return Metadata(
        graph=graph,
        graphs=tuple(kinds),
        unroll=1 if graph == "step" else draw(st.integers(1, 1000)),
        model_name=draw(st.text("abz059-", min_size=1)),
        task={"name": draw(names), "options": draw(st.dictionaries(st.text(), json_values))},
        network=draw(names),
        config={
            "input_size": draw(sizes),
            "output_size": draw(sizes),
            "memory_locations": p + draw(st.integers(0, 1000)),
            "read_heads": r,
            "controller_sizes": (3, 4),
        },
        parameters=draw(st.integers(1, 10**8)),
        content_addressing=len(state) > 1 and draw(st.booleans()),
        state=state,
        least_locations=p + draw(st.integers(0, 3)),
        training=draw(st.dictionaries(st.text(), json_values)),
        checkpoint_sha256=draw(st.binary(min_size=32, max_size=32)).hex(),
    )


# A busy processor makes values too slowly for the health check, which measures seconds.
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
    """The state with changes to its tensors by name."""
    state = json.loads(PROPS["state"])
    return json.dumps(
        {name: state.get(name, {}) | change for name, change in changes.items()}
        | {name: tensor for name, tensor in state.items() if name not in changes}
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema_version", "6"),
        ("schema_version", "8"),
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
        ("graphs", "[]"),
        ("graphs", '"step"'),
        ("graphs", '["unrolled", "step"]'),
        ("graphs", '["step", "sparse"]'),  # its own is missing
        ("graphs", '["step", "unrolled", "unrolled"]'),
        ("graphs", '["step", "unrolled", "loop"]'),
        ("graphs", '["step", ["unrolled"]]'),
        ("network", "two\nlines"),
        ("parameters", "0"),
        ("parameters", "many"),
        ("least_locations", "0"),
        ("least_locations", "-1"),
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
        ("state", "null"),
        ("state", "{}"),
        ("state", "[]"),
        ("state", "[" * 100_000),
        ("state", json.dumps({f"t{i}": {"shape": [1], "first": [0.0], "beyond": None} for i in range(17)})),
        ("state", _state(memory={"more": 1})),
        ("state", '{"hidden": {"shape": [1], "first": [0.0]}}'),
        ("state", '{"hidden": {"shape": [1], "first": [0.0], "beyond": null}}'),  # and content addressing
        ("state", _state(x={"shape": [1], "first": [0.0], "beyond": None})),
        ("state", _state(next_memory={"shape": [1], "first": [0.0], "beyond": None})),
        ("state", _state(**{"two words": {"shape": [1], "first": [0.0], "beyond": None}})),
        ("state", _state(memory={"beyond": [1.0]})),
        ("state", _state(memory={"beyond": ["a", "b"]})),
        ("state", _state(memory={"beyond": "ab"})),
        ("state", _state(memory={"beyond": None})),
        ("state", _state(memory={"beyond": [float("nan"), 0.0]})),
        ("state", _state(memory={"beyond": [10**400, 0]})),
        ("state", _state(memory={"first": [[1.0] * 3] * 2})),  # more than least_locations
        ("state", _state(memory={"shape": ["N", 2]})),
        ("state", _state(memory={"shape": [2, 3, "N"]})),
        ("state", _state(memory={"shape": [2, True]})),
        ("state", _state(memory={"shape": [2.0, "N"]})),
        ("state", _state(memory={"shape": 2})),
        ("state", _state(memory={"shape": [3, "N"], "first": [[]] * 3, "beyond": [0.0] * 3})),
        ("state", _state(weights={"first": [[1.0]]})),
        ("state", _state(weights={"first": [[1.0], [1.0, 0.0]]})),
        ("state", _state(weights={"first": [["a"], ["b"]]})),
        ("state", _state(weights={"shape": [1, "N"], "first": [[1.0]], "beyond": [0.0]})),  # no write head
        ("state", _state(reads={"first": [0.0, 0.0]})),
        ("state", _state(reads={"first": 3})),
        ("state", _state(reads={"beyond": [0.0]})),
        ("state", _state(cell={"shape": [2], "first": [0.0], "beyond": None})),
    ],
)
def test_a_property_is_wrong(name: str, value: str) -> None:
    with pytest.raises(MetadataError) as error:
        Metadata.from_props(PROPS | {name: value})
    assert "\n" not in str(error.value)


def test_writing_checks_like_reading() -> None:
    with pytest.raises(MetadataError):
        dataclasses.replace(Metadata.from_props(PROPS), unroll=0)
