// One sequence of a task: what goes in, what should come out, and where it counts.

export class Sequence {
  /** T steps of I numbers in and O numbers out, all 0; no output counts yet. */
  constructor(steps, inputs, outputs) {
    Object.assign(this, { steps, inputs, outputs });
    this.x = new Float32Array(steps * inputs); // [T, I]
    this.target = new Float32Array(steps * outputs); // [T, O]
    this.mask = new Uint8Array(steps); // [T], 1 in the output phase
    this.optimal = null; // [T, O], where the best possible predictor is not certain
  }

  /** Put numbers into the channels of a step, the first of them at a channel. */
  input(step, numbers, channel = 0) {
    this.x.set(numbers, step * this.inputs + channel);
  }

  /** What the output of a step should be: from now on it counts. */
  expect(step, numbers, channel = 0) {
    this.target.set(numbers, step * this.outputs + channel);
    this.mask[step] = 1;
  }

  /** The numbers of a step that went in. */
  at(step, count = this.inputs) {
    return Array.from(this.x.subarray(step * this.inputs, step * this.inputs + count));
  }

  /** The first step of the output phase. */
  get outputPhase() {
    return this.mask.indexOf(1);
  }

  /** Whether a bit of an output counts and is wrong, thresholded at 0.5. */
  isWrong(y, step, channel) {
    const at = step * this.outputs + channel;
    return this.mask[step] === 1 && y[at] > 0.5 !== this.target[at] > 0.5;
  }

  /** The bits that count in the steps before one, and how many of them are wrong. */
  count(y, before) {
    const found = { bits: 0, wrong: 0 };
    for (let step = 0; step < before; step++) {
      for (let channel = 0; this.mask[step] && channel < this.outputs; channel++) {
        found.bits += 1;
        found.wrong += Number(this.isWrong(y, step, channel));
      }
    }
    return found;
  }

  /** The cost of an output in the steps before one: the cross-entropy, in bits. */
  cost(y, before) {
    let bits = 0;
    for (let at = 0; at < before * this.outputs; at++) {
      if (!this.mask[Math.floor(at / this.outputs)]) continue;
      const p = Math.min(Math.max(y[at], 1e-7), 1 - 1e-7);
      bits -= this.target[at] * Math.log2(p) + (1 - this.target[at]) * Math.log2(1 - p);
    }
    return bits;
  }
}
