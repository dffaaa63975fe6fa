// The dynamic n-grams task: ntm/tasks/dynamic_ngrams.py, whose encoding this is.
import { Sequence } from "../sequence.js";

export const sizes = ({ n }) => ({ length: { least: n, most: 400, first: 200 } });
export const locations = ({ n }) => 2 ** n;

export function make(options, size, chance) {
  const order = options.n - 1;
  // The arcsine distribution, which is Beta(1/2, 1/2).
  const table = Array.from({ length: 2 ** order }, () => Math.sin((Math.PI / 2) * chance()) ** 2);
  const bits = [];
  for (let t = 0; t < size.length; t++) {
    bits.push(Number(chance() < (t < order ? 0.5 : table[context(bits, t, order)])));
  }
  return encode(options, bits);
}

export function encode({ n }, bits) {
  const order = n - 1;
  const sequence = new Sequence(bits.length - 1, 1, 1);
  sequence.optimal = new Float32Array(sequence.steps).fill(0.5);
  const counts = Array.from({ length: 2 ** order }, () => [0, 0]);
  for (let t = 0; t < sequence.steps; t++) {
    sequence.input(t, [bits[t]]);
    sequence.target[t] = bits[t + 1];
    if (t < order - 1) continue;
    sequence.expect(t, [bits[t + 1]]);
    const seen = counts[context(bits, t + 1, order)];
    sequence.optimal[t] = (seen[1] + 0.5) / (seen[0] + seen[1] + 1); // Eq. (10)
    seen[bits[t + 1]] += 1;
  }
  return sequence;
}

/** The number of the context before a step. */
const context = (bits, step, order) => bits.slice(step - order, step).reduce((number, bit) => 2 * number + bit, 0);

/** The bits in what a network sees, and the last one, which it should predict. */
export const words = (_, sequence) => [...Array.from(sequence.x), sequence.target[sequence.steps - 1]];

export const parts = () => [];
