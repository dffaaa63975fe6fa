// The priority sort task: ntm/tasks/priority_sort.py, whose encoding this is.
import { bits as randomBits } from "../random.js";
import { Sequence } from "../sequence.js";

export const sizes = () => ({ vectors: { least: 2, most: 100, first: 20 } });
export const locations = (_, size) => 2 * size.vectors;

export function make(options, size, chance) {
  const vectors = Array.from({ length: size.vectors }, () => randomBits(chance, options.bits));
  return encode(options, { vectors, priorities: vectors.map(() => Math.fround(2 * chance() - 1)) });
}

export function encode({ bits }, { vectors, priorities }) {
  const count = vectors.length;
  const sorted = order(priorities);
  const sequence = new Sequence(count + 1 + sorted.length, bits + 2, bits);
  vectors.forEach((vector, i) => sequence.input(i, [...vector, priorities[i]]));
  sequence.input(count, [1], bits + 1);
  sorted.forEach((i, rank) => sequence.expect(count + 1 + rank, vectors[i]));
  return sequence;
}

/** The vectors that come out, by number: four fifths, the highest priority first. */
const order = (priorities) =>
  [...priorities.keys()]
    .sort((a, b) => priorities[b] - priorities[a] || a - b)
    .slice(0, Math.floor((4 * priorities.length) / 5));

/** The vectors and the priorities in what a network sees. */
export function words({ bits }, sequence, size) {
  const seen = Array.from({ length: size.vectors }, (_, i) => sequence.at(i, bits + 1));
  return { vectors: seen.map((vector) => vector.slice(0, bits)), priorities: seen.map((vector) => vector[bits]) };
}

export function parts(options, size, sequence) {
  const rows = { channel: 0, channels: options.bits };
  const { priorities } = words(options, sequence, size);
  const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;
  return [
    ...priorities.map((priority, i) => ({ title: signed(priority), from: i, to: i + 1, of: "x", ...rows })),
    ...order(priorities).map((i, rank) => ({
      title: `${rank + 1}: ${signed(priorities[i])}`,
      from: size.vectors + 1 + rank,
      to: size.vectors + 2 + rank,
      of: "y",
      strong: true,
      ...rows,
    })),
  ];
}
