// The network: its step graph in onnxruntime-web, which computes all of it, and what it did at each step.

/** A file of the site, checked against the hash that the export wrote. */
async function read({ url, integrity }) {
  let response;
  try {
    response = await fetch(url, { integrity, cache: "no-cache" });
  } catch {
    throw new Error(`Cannot load ${url}: it cannot be reached, or it is damaged.`);
  }
  if (!response.ok) throw new Error(`Cannot load ${url}: ${response.status} ${response.statusText}.`);
  return response.arrayBuffer();
}

export class Network {
  constructor(model, ort, session) {
    Object.assign(this, { model, ort, session });
  }

  /** Load onnxruntime-web and the graph of a model. */
  static async load(model) {
    const { graph, runtime, wasm } = model.files;
    const [script, binary, content] = await Promise.all([read(runtime), read(wasm), read(graph)]);
    // Imported from what was checked, and not from its address once more.
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const ort = await import(address);
    URL.revokeObjectURL(address);
    ort.env.wasm.wasmBinary = binary;
    ort.env.wasm.numThreads = 1; // one step is too small to share
    const session = await ort.InferenceSession.create(content, { executionProviders: ["wasm"] });
    return new Network(model, ort, session);
  }

  /** The state before the first step, by name: of each tensor its numbers. */
  initialState(locations) {
    return Object.fromEntries(
      Object.entries(this.model.state).map(([name, { shape, first, beyond }]) => {
        if (beyond === null) return [name, Float32Array.from(first.flat())];
        const values = new Float32Array(shape[0] * locations);
        for (let row = 0; row < shape[0]; row++) {
          values.fill(beyond === "1/N" ? 1 / locations : beyond[row], row * locations, (row + 1) * locations);
          values.set(first[row], row * locations);
        }
        return [name, values];
      }),
    );
  }

  /**
   * Run a sequence, and keep what happened.
   *
   * @param sequence a Sequence.
   * @param locations N.
   * @param changes of each change { step, change(state) }: what happens to the state after so many steps.
   * @param stopped asked now and then; if it says true, the result is null.
   * @returns { locations, y: [T, O], states }: of the start and of each step the tensors of the state by name.
   */
  async run(sequence, locations, changes = [], stopped = () => false) {
    const { ort, session, model } = this;
    const dimensions = Object.fromEntries(
      Object.entries(model.state).map(([name, { shape }]) => [
        name,
        [1, ...shape.map((size) => (size === "N" ? locations : size))],
      ]),
    );
    const y = new Float32Array(sequence.steps * sequence.outputs);
    const states = [this.initialState(locations)];
    let rested = performance.now();
    const disturb = (step) => changes.filter((one) => one.step === step).forEach(({ change }) => change(states[step]));
    for (let step = 0; step < sequence.steps; step++) {
      disturb(step);
      const inputs = {
        x: new ort.Tensor("float32", sequence.x.slice(step * sequence.inputs, (step + 1) * sequence.inputs), [
          1,
          sequence.inputs,
        ]),
      };
      for (const [name, values] of Object.entries(states[step]))
        inputs[name] = new ort.Tensor("float32", values, dimensions[name]);
      const outputs = await session.run(inputs);
      y.set(outputs.y.data, step * sequence.outputs);
      states.push(Object.fromEntries(Object.keys(dimensions).map((name) => [name, outputs[`next_${name}`].data])));
      if (performance.now() - rested > 30) {
        await new Promise((resolve) => setTimeout(resolve)); // let the page react
        if (stopped()) return null;
        rested = performance.now();
      }
    }
    disturb(sequence.steps); // nothing comes after it
    return { locations, y, states };
  }
}
