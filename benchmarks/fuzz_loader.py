"""Damage the files of a model in many ways, load them and copy with them, and count the results; Markdown.

*Damaged* files are like those of a failing disk or a careless program. *Sealed* files have a valid checksum, which only
an attacker gives them; then the further checks of the runtime apply, and then onnxruntime. One file of the model is
damaged at a time; "the same odd metadata" changes all files, which then agree. Each damage has its own process, so that
a crash is assigned to it. The exit code is 1 if a damaged file was not refused in one line, or if a sealed file made
anything but onnxruntime fail.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime  # noqa: F401  (imported once, and not by every process)
from onnx import numpy_helper

import ntm
from ntm.runtime import folder, onnx_file
from ntm.runtime.evaluate import task_of
from ntm.runtime.metadata import FILES
from ntm.runtime.model import Model
from ntm.tasks import copy as copying

# What a process may take. Beyond the first two it counts as hanging or bloated; the third ends it.
SECONDS = 20
MEBIBYTES = 256  # more than one with an undamaged model
ADDRESS_SPACE = 16 << 30

# [B, L, bits]: so few that they take the unrolled graph, and so many that they take the batched one. In so many
# locations the few take the sparse one.
FEW, MANY = (np.random.default_rng(0).integers(0, 2, (sequences, 5, 8), np.uint8) for sequences in (2, 100))
LOCATIONS, MANY_LOCATIONS = 7, 1100

ODD_NUMBERS = (0, 1, -1, 2, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1, -(1 << 63))
ODD_VALUES: tuple[Any, ...] = (
    *ODD_NUMBERS,
    1 << 1100,
    None,
    True,
    1e308,
    float("nan"),
    "",
    "\0\n",
    "x" * 10_000,
    [],
    {},
    [[]] * 1000,
)
OPERATORS = ("Add", "MatMul", "Identity", "Reshape", "Concat", "Split", "Slice", "Softmax", "Expand", "Tile", "Loop")

Damage = Callable[[bytes, random.Random], bytes]


def flip_bits(content: bytes, dice: random.Random) -> bytes:
    """One to eight."""
    damaged = bytearray(content)
    for _ in range(1 << dice.randrange(4)):
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def truncate(content: bytes, dice: random.Random) -> bytes:
    """Cut anywhere."""
    return content[: dice.randrange(len(content))]


def insert(content: bytes, dice: random.Random) -> bytes:
    """Insert a few random bytes."""
    at = dice.randrange(len(content) + 1)
    return content[:at] + dice.randbytes(dice.randint(1, 64)) + content[at:]


def delete(content: bytes, dice: random.Random) -> bytes:
    """Delete a few bytes."""
    at = dice.randrange(len(content))
    return content[:at] + content[at + dice.randint(1, 64) :]


def zero(content: bytes, dice: random.Random) -> bytes:
    """Zero a sector, as a file system does that lost its power."""
    at = dice.randrange(0, len(content), 512)
    return content[:at] + bytes(len(content[at : at + 512])) + content[at + 512 :]


def repeat(content: bytes, dice: random.Random) -> bytes:
    """Repeat some part."""
    start, end = sorted((dice.randrange(len(content)), dice.randrange(len(content))))
    return content[:end] + content[start:]


def odd_size(model: onnx.ModelProto, dice: random.Random) -> None:
    """In the shape of a constant, an input or an output."""
    if dice.random() < 0.5:
        dims = dice.choice([tensor for tensor in model.graph.initializer if tensor.dims]).dims
        dims[dice.randrange(len(dims))] = dice.choice(ODD_NUMBERS)
    else:
        value = dice.choice([*model.graph.input, *model.graph.output])
        dice.choice(value.type.tensor_type.shape.dim).dim_value = dice.choice(ODD_NUMBERS)


def odd_number(model: onnx.ModelProto, dice: random.Random) -> None:
    """In a constant that says how to cut or to reshape, or in an attribute."""
    constants = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT64]
    attributes = [a for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.INT]
    if dice.random() < 0.5:
        tensor = dice.choice(constants)
        numbers = numpy_helper.to_array(tensor).copy()
        numbers.flat[dice.randrange(numbers.size)] = dice.choice(ODD_NUMBERS)
        tensor.CopyFrom(numpy_helper.from_array(numbers, tensor.name))
    else:
        dice.choice(attributes).i = dice.choice(ODD_NUMBERS)


def odd_type(model: onnx.ModelProto, dice: random.Random) -> None:
    """Of a constant, an input or an output."""
    if dice.random() < 0.5:
        dice.choice(model.graph.initializer).data_type = dice.randrange(24)
    else:
        dice.choice([*model.graph.input, *model.graph.output]).type.tensor_type.elem_type = dice.randrange(24)


def other_input(model: onnx.ModelProto, dice: random.Random) -> None:
    """Of a node: another tensor, perhaps one that is made later or nowhere."""
    tensors = ["", "nowhere", *(tensor.name for tensor in model.graph.initializer)]
    tensors += [tensor for node in model.graph.node for tensor in node.output]
    inputs = dice.choice([node for node in model.graph.node if node.input]).input
    inputs[dice.randrange(len(inputs))] = dice.choice(tensors)


def other_operator(model: onnx.ModelProto, dice: random.Random) -> None:
    """At a node."""
    dice.choice(model.graph.node).op_type = dice.choice(OPERATORS)


def other_nodes(model: onnx.ModelProto, dice: random.Random) -> None:
    """One is lost, or doubled, or two change places."""
    nodes = list(model.graph.node)
    a, b = dice.randrange(len(nodes)), dice.randrange(len(nodes))
    nodes = dice.choice(
        (
            nodes[:a] + nodes[a + 1 :],
            [*nodes[:a], nodes[b], *nodes[a:]],
            [nodes[{a: b, b: a}.get(i, i)] for i in range(len(nodes))],
        )
    )
    changed = onnx.GraphProto(node=nodes)
    model.graph.ClearField("node")
    model.graph.node.extend(changed.node)


def other_constants(model: onnx.ModelProto, dice: random.Random) -> None:
    """Two exchange their contents, or one loses a field."""
    a, b = dice.choice(model.graph.initializer), dice.choice(model.graph.initializer)
    if dice.random() < 0.5:
        a.raw_data, b.raw_data = b.raw_data, a.raw_data
    else:
        a.ClearField(dice.choice(("dims", "data_type", "raw_data", "name")))


def odd_metadata(model: onnx.ModelProto, dice: random.Random) -> None:
    """One value, anywhere in it."""
    entry = dice.choice(model.metadata_props)
    try:
        value = json.loads(entry.value)
    except ValueError:
        entry.value = str(dice.choice(ODD_VALUES))
    else:
        entry.value = json.dumps(_with_an_odd_value(value, dice))


def _with_an_odd_value(value: Any, dice: random.Random) -> Any:
    if not isinstance(value, dict | list) or not value or dice.random() < 0.2:
        return dice.choice(ODD_VALUES)
    changed = value.copy()
    key = dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
    if dice.random() < 0.2:
        del changed[key]
    else:
        changed[key] = _with_an_odd_value(value[key], dice)
    return changed


def _of_graph(change: Callable[[onnx.ModelProto, random.Random], None]) -> Damage:
    def damage(content: bytes, dice: random.Random) -> bytes:
        model = onnx.load_model_from_string(content)
        change(model, dice)
        return bytes(model.SerializeToString())

    return damage


DAMAGES: Mapping[str, Damage] = {
    "bits flipped": flip_bits,
    "truncated": truncate,
    "bytes inserted": insert,
    "bytes deleted": delete,
    "a sector of zeros": zero,
    "a part repeated": repeat,
    "odd sizes": _of_graph(odd_size),
    "odd numbers": _of_graph(odd_number),
    "odd types": _of_graph(odd_type),
    "other inputs": _of_graph(other_input),
    "other operators": _of_graph(other_operator),
    "other nodes": _of_graph(other_nodes),
    "other constants": _of_graph(other_constants),
    "odd metadata": _of_graph(odd_metadata),
    "the same odd metadata": _of_graph(odd_metadata),
}
OF_ALL_FILES = "the same odd metadata"


def damaged(content: bytes, damage: Damage, dice: random.Random) -> bytes:
    """Content, damaged once to three times, and other than before."""
    changed = content
    while changed == content:
        for _ in range(dice.randint(1, 3)):
            changed = damage(changed, dice) if changed else b""
    return changed


class Outcome(NamedTuple):
    """What came of a file."""

    kind: str  # refused, right, wrong: these are meant to be; whatever else
    detail: str
    seconds: float  # of the processor's time
    mebibytes: float  # the most memory that the process held


def attempt(path: pathlib.Path) -> Outcome:
    """Load a model and copy with it, in a process of its own."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.write(write_end, "\n".join(_outcome(path)).encode()[:60_000])
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        kind, _, detail = pipe.read().decode(errors="replace").partition("\n")
    _, status, usage = os.wait4(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        kind, detail = "hang" if number == signal.SIGALRM else "crash", signal.Signals(number).name
    return Outcome(kind, detail, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _outcome(path: pathlib.Path) -> tuple[str, str]:
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryFile() as printed:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(printed.fileno(), stream.fileno())
        try:
            model = Model(folder.read(path), LOCATIONS, own_process=True)
            task_of(model.metadata, None)  # as ntm-eval finds the task
            outcome = "right" if copies(model) else "wrong", ""
        except ntm.Error as error:
            outcome = "refused" if str(error).isprintable() else "several lines", str(error)
        except Exception:
            outcome = "exception", traceback.format_exc()
        if printed.seek(0, os.SEEK_END):
            printed.seek(0)
            outcome = "printed", printed.read().decode(errors="replace")
    return outcome


def copies(model: Model) -> bool:
    """Whether all graphs bring every bit back."""
    words = FEW.transpose(1, 0, 2)  # [L, B, bits]
    x, (length, count, _) = copying.inputs(words), words.shape
    state, stepwise = model.initial_state(count), []
    for x_t in x:
        y, state = model.step(x_t, state)
        stepwise.append(y)
    sparse = list(model.chunks(x, model.initial_state(count, MANY_LOCATIONS)))
    outputs = np.stack(stepwise), np.concatenate(sparse)  # [T, B, bits]
    copied = all(((y[length + 1 :] > 0.5) == words).all() for y in outputs)
    return bool(copied and all((model.copy(words) == words).all() for words in (FEW, MANY)))


def main() -> int:
    """Damage, load, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=15_000, help="damaged and sealed together (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--model", type=pathlib.Path, default=folder.find(folder.DEFAULT), help="default: the bundled one"
    )
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the files that were neither refused nor right")
    arguments = parser.parse_args()

    found: dict[tuple[str, str], list[Outcome]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        model = pathlib.Path(temporary, "model")
        shutil.copytree(arguments.model, model)
        originals = {file: (model / file).read_bytes() for file in FILES.values()}
        intact = attempt(model)
        if intact.kind != "right":
            raise SystemExit(f"the model itself is {intact.kind}: {intact.detail}")
        for index in range(arguments.files):
            dice = random.Random(f"{arguments.seed} {index}")  # noqa: S311
            how = list(DAMAGES)[index % len(DAMAGES)]
            state = "sealed" if index // len(DAMAGES) % 2 else "damaged"
            files = list(originals) if how == OF_ALL_FILES else [dice.choice(list(originals))]
            seed = dice.random()
            for file in files:  # all in the same way
                content = damaged(originals[file], DAMAGES[how], random.Random(seed))  # noqa: S311
                (model / file).write_bytes(onnx_file.sealed(content) if state == "sealed" else content)
            outcome = attempt(model)
            if outcome.mebibytes > intact.mebibytes + MEBIBYTES:
                outcome = outcome._replace(kind="bloated")
            found[state, how].append(outcome)
            if outcome.kind not in ("refused", "right", "wrong"):
                detail = " ".join(outcome.detail.split())[-200:]
                print(f"{index}: {state}, {how}, {files[-1]}: {outcome.kind}, {detail}", file=sys.stderr)
            if arguments.keep is not None and outcome.kind not in ("refused", "right"):
                for file in files:
                    shutil.copyfile(model / file, arguments.keep / f"{index}-{outcome.kind}-{file}")
            for file in files:
                (model / file).write_bytes(originals[file])
    return _report(found, intact)


def _report(found: Mapping[tuple[str, str], list[Outcome]], intact: Outcome) -> int:
    """Print the table; returns the exit code."""
    kinds = sorted({outcome.kind for outcomes in found.values() for outcome in outcomes})
    print(f"| file | damage | files | {' | '.join(kinds)} | most s | most MiB |")
    print(f"| --- | --- |{' ---: |' * (len(kinds) + 3)}")
    total: dict[str, collections.Counter[str]] = {"damaged": collections.Counter(), "sealed": collections.Counter()}
    for (state, how), outcomes in sorted(found.items()):
        counts = collections.Counter(outcome.kind for outcome in outcomes)
        total[state] += counts
        row = [state, how, len(outcomes), *(counts[kind] for kind in kinds)]
        row += [f"{max(o.seconds for o in outcomes):.2f}", f"{max(o.mebibytes for o in outcomes):.0f}"]
        print(f"| {' | '.join(map(str, row))} |")
    print(f"\nAn undamaged model takes {intact.seconds:.2f} s and {intact.mebibytes:.0f} MiB.")
    for state, counts in total.items():
        print(f"{state}: " + ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common()))
    fine = set(total["damaged"]) <= {"refused"} and set(total["sealed"]) <= {"refused", "right", "wrong", "crash"}
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
