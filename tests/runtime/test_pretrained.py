"""The bundled models: the one that copies any file, where it is the network that copies, and the others."""

import json
import pathlib
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import ntm
from ntm import commands
from ntm.runtime import folder, onnx_file
from ntm.runtime.copy_command import BLOCK_LENGTH
from ntm.runtime.evaluate import evaluate
from ntm.tasks import BUILT_IN, Copy
from ntm.tasks.copy import inputs
from ntm.tasks.task import largest
from ntm.tasks.words import PATTERNS

ROOT = pathlib.Path(__file__).parents[2]
RANDOM = np.random.default_rng(0)


def png() -> bytes:
    """A picture of noise and of flat colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = (64).to_bytes(4, "big")
    rows = b"".join(b"\0" + (RANDOM.bytes(192) if i % 2 else b"\x80" * 192) for i in range(64))
    header = chunk(b"IHDR", size + size + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


FILES = {
    "empty": b"",
    "one byte": b"\xa5",
    "1 MiB of random bytes": RANDOM.bytes(1 << 20),
    "zeros": bytes(1 << 16),
    "0xFF": b"\xff" * (1 << 16),
    "one byte repeated": b"\x5a" * (1 << 16),
    "a counter": bytes(range(256)) * 64,
    "the README": (ROOT / "README.md").read_bytes(),
    "a PNG": png(),
    "an ELF program": pathlib.Path(sys.executable).resolve().read_bytes()[: 1 << 18],
    **{
        f"{blocks} blocks {extra:+d}": RANDOM.bytes(blocks * BLOCK_LENGTH + extra)
        for blocks in (1, 2, 3)
        for extra in (-1, 0, 1)
    },
}


def ntm_copy(*arguments: object, **options: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-c", "from ntm.commands import copy; copy()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_copies_bit_for_bit(
    in_process: Callable[..., "subprocess.CompletedProcess[str]"], content: bytes, tmp_path: pathlib.Path
) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(content)
    done = in_process("ntm-copy", commands.copy, source, "-o", target)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert target.read_bytes() == content


def test_copies_standard_input_to_standard_output() -> None:
    content = RANDOM.bytes(10_000)
    done = ntm_copy("-", input=content)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == content


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("length", "locations"), [(20, 22), (20, 128), (120, 128), (1000, 1024)])
def test_remembers_sequences_longer_than_any_it_saw(length: int, locations: int, pattern: str) -> None:
    (score,) = evaluate(
        ntm.load(), Copy(pattern=pattern), [{"length": length}], sequences=8, memory_locations=locations
    )
    assert not score.wrong_bits.any()


@pytest.mark.parametrize("name", folder.bundled())
def test_a_bundled_model_has_learned_the_task_that_it_names(name: str) -> None:
    model = ntm.load(name)
    assert model.metadata.model_name == name
    assert model.metadata.task_name in BUILT_IN
    size = largest(BUILT_IN[model.metadata.task_name]().training_sizes)
    (score,) = evaluate(model, sizes=[size], sequences=50)
    bits = int(score.worst.mask.sum()) * score.worst.target.shape[1]  # the cost of chance
    optimal = 0.0 if score.optimal_cost is None else score.optimal_cost.mean()
    assert score.cost.mean() - optimal < 0.1 * (bits - optimal)


@pytest.mark.parametrize("name", folder.bundled())
def test_the_card_of_a_bundled_model_is_its_own(name: str) -> None:
    card = (folder.find(name) / "card.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n")
    assert folder.read(name).metadata.checkpoint_sha256 in card


@pytest.mark.parametrize("name", folder.bundled())
def test_the_example_of_a_card_is_what_the_model_outputs(name: str) -> None:
    card = (folder.find(name) / "card.md").read_text(encoding="utf-8")
    example = json.loads(card.partition("## Example")[2].partition("```json\n")[2].partition("```")[0])
    model = ntm.load(name, memory_locations=example["memory_locations"])
    y, _ = model.run(np.array(example["x"])[:, np.newaxis])
    np.testing.assert_allclose(y[:, 0], example["y"], rtol=0, atol=1e-4)
    assert len(example["counts"]) == len(y)


@pytest.mark.parametrize("name", folder.bundled())
def test_a_bundled_model_gives_its_known_answer(name: str) -> None:
    answer = json.loads((folder.find(name) / "known_answer.json").read_text(encoding="utf-8"))
    model = ntm.load(name)
    said = (answer["model_name"], answer["checkpoint_sha256"])
    assert said == (name, model.metadata.checkpoint_sha256)
    assert len(answer["steps"]) >= 2
    for step in answer["steps"]:
        given, expected = (
            {tensor: np.reshape(np.float32(t["data"]), t["shape"]) for tensor, t in step[part].items()}
            for part in ("inputs", "outputs")
        )
        y, state = model.step(given.pop("x"), given)
        found = {"y": y, **{f"next_{tensor}": value for tensor, value in state.items()}}
        assert set(expected) == {*found, "adds"}
        for tensor, value in found.items():
            np.testing.assert_allclose(value, expected[tensor], rtol=1e-5, atol=1e-5, err_msg=tensor)


def damaged(tmp_path: pathlib.Path, name: str, scale: float) -> pathlib.Path:
    """The bundled model with one of its variables scaled; in a graph it may be in parts, or one with another."""
    target = tmp_path / "damaged"
    shutil.copytree(folder.find(folder.DEFAULT), target)
    for path in target.glob("*.onnx"):
        model = onnx.load(path)
        layer, _, kind = name.partition("/")
        parts = [
            tensor
            for tensor in model.graph.initializer
            if layer in tensor.name.partition("/")[0].split("_and_") and tensor.name.endswith(f"/{kind}")
        ]
        assert parts
        for part in parts:
            part.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(part) * np.float32(scale), part.name))
        path.write_bytes(onnx_file.sealed(model.SerializeToString()))
    return target


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, -0.5])
@pytest.mark.parametrize("name", ["heads/kernel", "output/kernel", "hidden_1/kernel"])
def test_it_is_the_network_that_copies(name: str, scale: float, tmp_path: pathlib.Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    content = RANDOM.bytes(3000)
    source.write_bytes(content)
    done = ntm_copy(source, "-o", target, "--model", damaged(tmp_path, name, scale))
    assert done.returncode == 1
    original, copied = np.frombuffer(content, np.uint8), np.frombuffer(target.read_bytes(), np.uint8)
    wrong = int(np.unpackbits(original ^ copied).sum())
    first = int(np.flatnonzero(original != copied)[0])
    assert wrong > 1000
    assert done.stderr.decode().startswith(f"ntm-copy: {wrong} of 24000 bits are wrong")
    assert done.stderr.decode().rstrip().endswith(f"at {first}")


def test_many_short_sequences_run_as_one_step_after_the_other() -> None:
    """At the size at which ``ntm-copy`` runs them, which the publish gate does not have."""
    model = ntm.load(memory_locations=7)
    x = inputs(RANDOM.integers(0, 2, (5, 1000, 8), np.uint8))
    state = model.initial_state(1000)
    for x_t, found in zip(x, np.concatenate(list(model.chunks(x, state))), strict=True):
        y, state = model.step(x_t, state)
        np.testing.assert_allclose(found, y, rtol=0, atol=1e-5)
