"""Measure the page of ``ntm-view`` in headless Chromium on one core, beside onnxruntime-node; Markdown.

A row is a bundled model with N = 128, or its own N. First paint and ready are milliseconds from the request of the
page, served on the loopback interface: until something is on the screen, and until the first sequence has been run and
is shown. Steps a second are those of the network alone, of the network and the drawing of each step, and of
onnxruntime-node, which runs the same steps with the state fed back; each is the best of several rounds, in turns. It
needs what ``browser.py`` names, and onnxruntime-node. The exit code is 1 if an
output of a page differs from that of ``ntm.load`` by more than 1e-5.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import browser
import numpy as np

import ntm
from ntm import console, text
from ntm.runtime.folder import bundled, find

LOCATIONS = 128
_SIZES = {
    "copy": "length=63",
    "repeat-copy": "length=10&repeats=10",
    "associative-recall": "items=12",
    "priority-sort": "vectors=30",
    "dynamic-ngrams": "length=200",
}
_RUN = """async () => {
    const start = performance.now();
    const { steps } = ntm.sequence;
    const trace = await ntm.network.run(ntm.sequence, ntm.trace.locations);
    const ran = performance.now();
    for (let step = 0; step <= steps; step++) ntm.goTo(step);
    return { steps, run: ran - start, draw: performance.now() - ran };
}"""
_SEEN = """() => ({
    paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
    N: ntm.trace.locations, x: [...ntm.sequence.x], inputs: ntm.sequence.inputs,
    y: [...ntm.trace.y],
})"""
_NODE = """
const fs = require("node:fs");
const ort = require("onnxruntime-node");
const { x, state } = JSON.parse(fs.readFileSync(0, "utf8"));
const tensor = (data, shape) => new ort.Tensor("float32", Float32Array.from(data), shape);
ort.InferenceSession.create(process.argv[1], { intraOpNumThreads: 1 }).then(async (session) => {
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    let now = Object.fromEntries(Object.entries(state).map(([name, { data, shape }]) => [name, tensor(data, shape)]));
    const start = performance.now();
    for (const numbers of x) {
      const out = await session.run({ x: tensor(numbers, [1, numbers.length]), ...now });
      now = Object.fromEntries(Object.keys(now).map((name) => [name, out[`next_${name}`]]));
    }
    best = Math.min(best, performance.now() - start);
  }
  console.log(best);
});
"""


def main() -> int:
    """Measure each model, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # and so all that is started below
    rows = [
        ["model", "N", "steps", "first paint, ms", "ready, ms", "steps/s", "with drawing", "in node", "node / page"]
    ]
    good = True
    try:
        with tempfile.TemporaryDirectory() as temporary, browser.tab() as tab:
            root = pathlib.Path(temporary)
            for name in bundled():
                browser.make_site(root / name, name)
            with browser.serving(root) as address:
                for name in bundled():
                    row, right = _measure(tab, f"{address}{name}/", name, arguments.rounds)
                    rows.append(row)
                    good &= right
    except browser.MissingError as missing:
        print(missing, file=sys.stderr)
        return console.TROUBLE
    print(text.table(rows, left=1))
    return console.OK if good else console.WRONG


def _measure(tab: browser.Tab, address: str, name: str, rounds: int) -> tuple[list[str], bool]:
    """The row of a model, and whether the page is right."""
    model = ntm.load(name)
    locations = model.memory_locations if model.metadata.fixed_locations else LOCATIONS
    address += f"#N={locations}&{_SIZES[model.metadata.task_name]}"
    paint, ready, page, drawn, node = [], [], [], [], []
    seen: dict[str, Any] = {}
    for _ in range(rounds):
        tab.open(address)
        ready.append(tab.page.evaluate("performance.now()"))
        seen = tab.page.evaluate(_SEEN)
        paint.append(seen["paint"])
        run = tab.page.evaluate(_RUN)
        page.append(run["run"])
        drawn.append(run["run"] + run["draw"])
        node.append(_in_node(model, find(name) / "step.onnx", seen))
    x = np.reshape(np.float32(seen["x"]), (-1, 1, seen["inputs"]))
    y, _ = model.run(x, model.initial_state(1, locations))
    right = np.allclose(np.float32(seen["y"]), y.ravel(), rtol=0, atol=1e-5)
    rates = [len(x) / min(times) * 1_000 for times in (page, drawn, node)]
    cells = [f"{value:,.0f}" for value in (min(paint), min(ready), *rates)]
    return [name, str(locations), str(len(x)), *cells, f"{rates[2] / rates[0]:.1f}x"], right


def _in_node(model: ntm.Model, graph: pathlib.Path, seen: dict[str, Any]) -> float:
    """Milliseconds that onnxruntime-node takes for the same steps."""
    state = model.initial_state(1, seen["N"])
    given = {
        "x": np.reshape(seen["x"], (-1, seen["inputs"])).tolist(),
        "state": {name: {"data": value.ravel().tolist(), "shape": value.shape} for name, value in state.items()},
    }
    command = ["node", "-e", _NODE, str(graph)]
    done = subprocess.run(command, input=json.dumps(given), check=True, capture_output=True, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
