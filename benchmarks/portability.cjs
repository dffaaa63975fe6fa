// Run a file of a model in onnxruntime for JavaScript: node portability.cjs PACKAGE FILE TASK; see portability.py.
"use strict";
const fs = require("node:fs");
const ort = require(process.argv[2]);

async function main(file, task) {
  const options = process.argv[2].endsWith("web") ? { executionProviders: ["wasm"] } : { intraOpNumThreads: 1 };
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(fs.readFileSync(file), options);
  const names = Object.keys(task.state);
  let state = Object.fromEntries(
    names.map((name) => [name, new ort.Tensor("float32", Float32Array.from(task.state[name].data), task.state[name].shape)]),
  );
  const size = task.x[0].length;
  const y = [];
  const times = [];
  for (let at = 0; at < task.x.length; at += task.steps) {
    const x = new Float32Array(task.steps * size);
    task.x.slice(at, at + task.steps).forEach((step, i) => x.set(step, i * size));
    const shape = task.single ? [1, size] : [task.steps, 1, size];
    const start = process.hrtime.bigint();
    const outputs = await session.run({ x: new ort.Tensor("float32", x, shape), ...state });
    times.push(Number(process.hrtime.bigint() - start));
    const width = outputs.y.data.length / task.steps;
    for (let i = 0; i < task.steps; i++) y.push([...outputs.y.data.slice(i * width, (i + 1) * width)]);
    state = Object.fromEntries(names.map((name) => [name, outputs[`next_${name}`]]));
  }
  const least = Math.min(...times);
  console.log(JSON.stringify({ y: y.slice(0, task.x.length), microseconds: least / 1e3 / task.steps }));
}

main(process.argv[3], JSON.parse(fs.readFileSync(process.argv[4], "utf8"))).catch((error) => {
  console.error(error.message);
  process.exit(1);
});
