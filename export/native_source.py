"""The C of a model, a step of fixed B and N: the header ``ntm.h`` and the source ``ntm.c``."""

import itertools
import json
import math
import pathlib
import string
from collections.abc import Iterable, Mapping

import numpy as np
import onnx

from ntm.export import c_code
from ntm.export.step import Sizes, inputs, outputs
from ntm.models import NetworkConfig, Shape
from ntm.runtime.metadata import ADDS, UNIFORM, Metadata, StateTensor, X, next_name
from ntm.runtime.native_file import BATCH_SIZE, MARK, MEMORY_LOCATIONS
from ntm.text import DISTRIBUTION

_HERE = pathlib.Path(__file__).parent
_CHARACTERS_A_LINE = 100

_HEADER = """\
/*
 * One time step of a network, compiled ahead of time for B sequences side by side and N memory locations. Written by
 * ntm-export of {distribution}; the model card explains x and y.
 *
 * Each instance has its own state, and one thread at a time may use it. There is no other state, and no step allocates
 * memory. Numbers are float32, the last axis innermost.
 */
#ifndef NTM_H
#define NTM_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define NTM_MODEL {model}
#define NTM_CHECKPOINT_SHA256 {checksum}

{numbers}

/* How many numbers each tensor has. */
{sizes}

typedef struct ntm ntm;

/* The inputs of a step, by name. */
typedef struct {{
{inputs}
}} ntm_inputs;

/* The outputs of a step, by name. */
typedef struct {{
{outputs}
}} ntm_outputs;

/* The state of an instance, by name. */
typedef struct {{
{state}
}} ntm_state;

/* A new instance in the state before the first step; NULL where there is no memory for it. */
ntm *ntm_create(void);

/* Free an instance that ntm_create made. */
void ntm_free(ntm *instance);

/* Back to the state before the first step. */
void ntm_reset(ntm *instance);

/* One time step: x, [B, I], in; y, [B, O], out: the probability that each output is 1. */
void ntm_step(ntm *instance, const float *x, float *y);

/* The next T = `steps` time steps: x, [T, B, I], in; y, [T, B, O], out. */
void ntm_run(ntm *instance, const float *x, float *y, size_t steps);

/* The state after the last step, to be read or changed. The pointers are valid until the next step. */
ntm_state ntm_current(ntm *instance);

/*
 * One time step from a state that the caller keeps: every tensor of `inputs` is read, and every one of `outputs` is
 * written. They must not overlap. The instance is only working memory; its own state does not change.
 */
void ntm_compute(ntm *instance, const ntm_inputs *inputs, const ntm_outputs *outputs);

/* For programs without malloc: the size of an instance in bytes, and a new instance in memory of the caller. */
size_t ntm_size(void);
ntm *ntm_init(void *memory);

/* The metadata of the model, as JSON. */
const char *ntm_metadata(void);

#ifdef __cplusplus
}}
#endif

#endif
"""

_SOURCE = """\
/*
 * Written by ntm-export of {distribution}. All of it is C11; it needs no library but that of C.
 *
 *     cc -O3 -fopenmp-simd -ffp-contract=fast -fno-math-errno -fno-trapping-math -c ntm.c
 */
#include "ntm.h"

{functions}
{constants}

/* The tensors between the inputs and the outputs. */
struct work {{
{work}
}};

struct state {{
{state}
}};

NTM_INLINE void step(struct work *restrict work, const ntm_inputs *inputs, const ntm_outputs *outputs)
{{
{pointers}
{lines}
}}

/* Fill one tensor: each row begins with the numbers in `first`, and its rest is its number in `beyond`. */
static void fill(float *tensor, int sequences, int rows, int columns, const float *first, int firsts,
                 const float *beyond)
{{
    for (int i = 0; i < sequences * rows; i++)
        for (int j = 0; j < columns; j++)
            *tensor++ = j < firsts ? first[i % rows * firsts + j] : beyond[i % rows];
}}

static void initial_state(struct state *state)
{{
{initial_state}
}}

static ntm_inputs as_inputs(const struct state *state)
{{
    ntm_inputs inputs = {{{as_inputs}}};
    return inputs;
}}

static ntm_outputs as_outputs(struct state *state, struct work *work)
{{
    ntm_outputs outputs = {{{as_outputs}}};
    (void)work;
    return outputs;
}}

static ntm_state as_state(struct state *state)
{{
    ntm_state found = {{{as_state}}};
    return found;
}}

#define NTM_MARK {mark}
static const char metadata[] =
{metadata};

{instance}"""


def header(config: NetworkConfig, metadata: Metadata, sizes: Sizes) -> str:
    """``ntm.h``."""
    taken, given = inputs(config, sizes), outputs(config, sizes)
    numbers = {"NTM_B": sizes.batch, "NTM_N": sizes.locations, "NTM_I": config.input_size, "NTM_O": config.output_size}
    state = {name: shape for name, shape in taken.items() if name != X}
    counted = taken | {name: shape for name, shape in given.items() if name not in map(next_name, state)}
    return _HEADER.format(
        distribution=DISTRIBUTION,
        model=_string(metadata.model_name),
        checksum=_string(metadata.checkpoint_sha256),
        numbers="\n".join(f"#define {name} {number}" for name, number in numbers.items() if number is not None),
        sizes="\n".join(f"#define NTM_SIZE_{name.upper()} {_count(shape)}" for name, shape in counted.items()),
        inputs=_fields(taken, "const float *"),
        outputs=_fields(given, "float *"),
        state=_fields(state, "float *"),
    )


def source(model: onnx.ModelProto, config: NetworkConfig, metadata: Metadata, sizes: Sizes) -> str:
    """``ntm.c``.

    Args:
        model: the step, of these sizes.
        config: the configuration of the network.
        metadata: the metadata of the model.
        sizes: B and N.

    Raises:
        ExportError: the step has an operation that ``c_code`` does not know.
    """
    code = c_code.step(model)
    taken, given = inputs(config, sizes), outputs(config, sizes)
    state = {name: shape for name, shape in taken.items() if name != X}
    work = code.buffers | {name: _count(shape) for name, shape in given.items() if name == ADDS}
    filled = [line for name, tensor in metadata.state.items() for line in _fill(name, tensor, sizes)]
    return _SOURCE.format(
        distribution=DISTRIBUTION,
        functions=(_HERE / "native_functions.h").read_text(encoding="utf-8"),
        constants="\n".join(_array(name, values.ravel().tolist()) for name, values in code.constants.items()),
        work=_arrays(work),
        state=_arrays({name: _count(shape) for name, shape in state.items()}),
        pointers="\n".join(
            [f"    const float *restrict {name} = inputs->{name};" for name in taken]
            + [f"    float *restrict {name} = outputs->{name};" for name in given]
        ),
        lines="\n".join(line if line.startswith("#") else f"    {line}" for line in code.lines),
        initial_state="\n".join(f"    {line}" for line in filled),
        as_inputs=", ".join(f".{name} = state->{name}" for name in state),
        as_outputs=", ".join(
            [f".{next_name(name)} = state->{name}" for name in state]
            + [f".{name} = work->{name}" for name in given if name == ADDS]
        ),
        as_state=", ".join(f".{name} = state->{name}" for name in state),
        mark=len(MARK),
        metadata=_long_string(MARK + described(metadata, sizes)),
        instance=(_HERE / "native_instance.c").read_text(encoding="utf-8"),
    )


def described(metadata: Metadata, sizes: Sizes) -> str:
    """The metadata of a library as JSON: the properties of an ONNX file, and the sizes."""
    of_sizes = {BATCH_SIZE: str(sizes.batch), MEMORY_LOCATIONS: str(sizes.locations or 1)}
    return json.dumps(metadata.to_props() | of_sizes)


def _count(shape: Shape) -> int:
    return math.prod(int(size) for size in shape)


def _fields(shapes: Mapping[str, Shape], kind: str) -> str:
    return "\n".join(f"    {kind}{name}; /* [{', '.join(map(str, shape))}] */" for name, shape in shapes.items())


def _arrays(sizes: Mapping[str, int]) -> str:
    return "\n".join(f"    NTM_ALIGNED float {name}[{size}];" for name, size in sizes.items())


def _array(name: str, values: Iterable[float]) -> str:
    values = list(values)
    return f"static const NTM_ALIGNED float {name}[{len(values)}] = {c_code.floats(values)};"


def _fill(name: str, tensor: StateTensor, sizes: Sizes) -> list[str]:
    """The statements that set a tensor of the state to its initial values."""
    rows = tensor.first if isinstance(tensor.first[0], tuple) else (tensor.first,)
    columns = (sizes.locations or 1) if tensor.by_location else len(rows[0])
    beyond = tensor.beyond or [0.0] * len(rows)
    if beyond == UNIFORM:
        beyond = [float(np.float32(1 / columns))] * len(rows)
    firsts = len(rows[0])
    first = list(itertools.chain.from_iterable(rows)) or [0.0]  # C has no empty array
    return [
        f"static const float first_{name}[] = {c_code.floats(first)};".replace("\n", "\n    "),
        f"static const float beyond_{name}[] = {c_code.floats(map(float, beyond))};".replace("\n", "\n    "),
        f"fill(state->{name}, {sizes.batch}, {len(rows)}, {columns}, first_{name}, {firsts}, beyond_{name});",
    ]


def _string(text: str) -> str:
    """A string literal of C in UTF-8; bytes that are not plain text are octal escapes."""
    plain = {ord(c): c for c in string.ascii_letters + string.digits + " !#$%&'()*+,-./:;<=>@[]^_`{|}~"}
    return '"' + "".join(plain.get(byte, f"\\{byte:03o}") for byte in text.encode()) + '"'


def _long_string(text: str) -> str:
    """A string literal of C on several lines; ``text`` is ASCII."""
    pieces = (text[i : i + _CHARACTERS_A_LINE] for i in range(0, len(text), _CHARACTERS_A_LINE))
    return "\n".join(f"    {_string(piece)}" for piece in pieces)
