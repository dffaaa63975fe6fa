// Check onnxruntime-node with the known answer of a model: node check.cjs MODEL. Prints the steps and the largest
// difference; exits with 1 if one is above the tolerance, which is relative for numbers above 1.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const ort = require("onnxruntime-node");

async function main(model) {
  const session = await ort.InferenceSession.create(path.join(model, "step.onnx"));
  const answer = JSON.parse(fs.readFileSync(path.join(model, "known_answer.json"), "utf8"));
  let worst = 0;
  for (const { inputs, outputs } of answer.steps) {
    const feeds = {};
    for (const [name, { shape, data }] of Object.entries(inputs)) {
      feeds[name] = new ort.Tensor("float32", Float32Array.from(data), shape);
    }
    const found = await session.run(feeds);
    for (const [name, { data }] of Object.entries(outputs)) {
      data.forEach((value, i) => {
        worst = Math.max(worst, Math.abs(found[name].data[i] - value) / Math.max(1, Math.abs(value)));
      });
    }
  }
  console.log(`${answer.steps.length} steps, largest difference ${worst}`);
  process.exitCode = worst <= answer.tolerance ? 0 : 1;
}

main(process.argv[2]);
