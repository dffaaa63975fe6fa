// The associative recall task: ntm/tasks/associative_recall.py, whose encoding this is.
import { bits as randomBits, whole } from "../random.js";
import { Sequence } from "../sequence.js";

// More than there are different items of the option's sizes cannot be listed.
export const sizes = ({ bits, vectors }) => ({
  items: { least: 2, most: Math.min(100, 2 ** Math.min(bits * vectors, 20)), first: 6 },
});
export const locations = (options, size) => 2 * steps(options, size);
const steps = ({ vectors }, { items }) => items * (vectors + 1) + 2 * vectors + 2;

export function make(options, size, chance) {
  const items = [];
  while (items.length < size.items) {
    const item = Array.from({ length: options.vectors }, () => randomBits(chance, options.bits));
    if (!items.some((other) => String(other) === String(item))) items.push(item);
  }
  return encode(options, { items, asked: whole(chance, 0, size.items - 1) });
}

export function encode(options, { items, asked }) {
  const { bits, vectors } = options;
  const query = items.length * (vectors + 1);
  const sequence = new Sequence(steps(options, { items: items.length }), bits + 2, bits);
  items.forEach((item, i) => {
    sequence.input(i * (vectors + 1), [1], bits);
    item.forEach((vector, v) => sequence.input(i * (vectors + 1) + 1 + v, vector));
  });
  sequence.input(query, [1], bits + 1);
  items[asked].forEach((vector, v) => sequence.input(query + 1 + v, vector));
  sequence.input(query + vectors + 1, [1], bits + 1);
  items[asked + 1].forEach((vector, v) => sequence.expect(sequence.steps - vectors + v, vector));
  return sequence;
}

/** The items in what a network sees, and which one is asked for. */
export function words({ bits, vectors }, sequence, size) {
  const item = (first) => Array.from({ length: vectors }, (_, v) => sequence.at(first + 1 + v, bits));
  const items = Array.from({ length: size.items }, (_, i) => item(i * (vectors + 1)));
  const query = String(item(size.items * (vectors + 1)));
  return { items, asked: items.findIndex((listed) => String(listed) === query) };
}

export function parts(options, size, sequence) {
  const { bits, vectors } = options;
  const rows = { channel: 0, channels: bits };
  const asked = words(options, sequence, size).asked;
  const card = (title, first, of = "x") => ({ title, from: first, to: first + vectors, of, ...rows });
  const query = size.items * (vectors + 1);
  return [
    ...Array.from({ length: size.items }, (_, i) => card(`item ${i + 1}`, i * (vectors + 1) + 1)),
    { ...card(`query: item ${asked + 1}`, query + 1), strong: true },
    { ...card(`answer: item ${asked + 2}`, query + vectors + 2, "y"), strong: true },
  ];
}
