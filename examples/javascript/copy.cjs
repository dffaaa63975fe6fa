// Copy standard input to standard output through step.onnx, by what the model card says and nothing else:
// node copy.cjs MODEL N < input > output, one byte a word, the most significant bit first.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const ort = require("onnxruntime-node");

const [BITS, VECTOR, HEADS, READS, UNITS] = [8, 20, 2, 1, 100];

// "Start from the state of the table": a small number everywhere in memory, and all heads at the first location. Only a
// network with an LSTM controller has what it carries, hidden and cell.
function initialState(names, locations) {
  const weights = new Float32Array(HEADS * locations);
  for (let head = 0; head < HEADS; head++) weights[head * locations] = 1;
  const carried = () => new ort.Tensor("float32", new Float32Array(UNITS), [1, UNITS]);
  const state = {
    memory: new ort.Tensor("float32", new Float32Array(VECTOR * locations).fill(1e-6), [1, VECTOR, locations]),
    weights: new ort.Tensor("float32", weights, [1, HEADS, locations]),
    reads: new ort.Tensor("float32", new Float32Array(READS * VECTOR), [1, READS, VECTOR]),
    hidden: carried(),
    cell: carried(),
  };
  return Object.fromEntries(names.map((name) => [name, state[name]]));
}

function input(bits, delimiter) {
  return new ort.Tensor("float32", Float32Array.from([...bits, delimiter]), [1, BITS + 1]);
}

async function main(model, locations) {
  const session = await ort.InferenceSession.create(path.join(model, "step.onnx"), { intraOpNumThreads: 1 });
  const words = [...fs.readFileSync(0)].map((byte) => Array.from({ length: BITS }, (_, i) => (byte >> (7 - i)) & 1));
  const silence = new Array(BITS).fill(0);
  const names = session.inputNames.filter((name) => name !== "x");
  let state = initialState(names, locations);

  async function step(bits, delimiter) {
    const outputs = await session.run({ x: input(bits, delimiter), ...state });
    state = Object.fromEntries(names.map((name) => [name, outputs[`next_${name}`]]));
    return outputs.y.data;
  }

  for (const word of words) await step(word, 0);
  await step(silence, 1);
  const copy = Buffer.alloc(words.length);
  for (let i = 0; i < words.length; i++) {
    for (const y of await step(silence, 0)) copy[i] = (copy[i] << 1) | (y > 0.5);
  }
  fs.writeSync(1, copy);
}

main(process.argv[2], Number(process.argv[3]));
