// The copy task: ntm/tasks/copy.py, whose encoding this is.
import { bits as randomBits } from "../random.js";
import { Sequence } from "../sequence.js";

export const sizes = () => ({ length: { least: 1, most: 300, first: 20 } });
export const locations = (_, size) => size.length + 2;

export function make(options, size, chance) {
  return encode(
    options,
    Array.from({ length: size.length }, () => randomBits(chance, options.bits)),
  );
}

export function encode({ bits }, words) {
  const length = words.length;
  const sequence = new Sequence(2 * length + 1, bits + 1, bits);
  words.forEach((word, i) => {
    sequence.input(i, word);
    sequence.expect(length + 1 + i, word);
  });
  sequence.input(length, [1], bits);
  return sequence;
}

/** The words in what a network sees. */
export const words = ({ bits }, sequence) =>
  Array.from({ length: (sequence.steps - 1) / 2 }, (_, i) => sequence.at(i, bits));

export const parts = () => [];

/** A text as words, a byte each, the most significant bit first; of at least a byte. */
export const fitsText = ({ bits }) => bits >= 8;

export function encodeText(options, text) {
  const bytes = [...new TextEncoder().encode(text)];
  return encode(
    options,
    bytes.map((byte) => Array.from({ length: options.bits }, (_, i) => (byte / 2 ** (options.bits - 1 - i)) & 1)),
  );
}

/** The text that came out in the steps before one: pieces, each with whether it is wrong. */
export function readText({ bits }, sequence, y, before) {
  const first = sequence.outputPhase;
  const bytes = [];
  const wrong = [];
  for (let step = first; step < before; step++) {
    const word = Array.from(y.subarray(step * bits, (step + 1) * bits), (value) => Number(value > 0.5));
    bytes.push(word.reduce((number, bit) => (2 * number + bit) % 256, 0));
    wrong.push(word.some((_, channel) => sequence.isWrong(y, step, channel)));
  }
  const pieces = [];
  let start = 0;
  for (let end = 1; end <= bytes.length; end++) {
    // A character ends where the next byte does not continue it (10xxxxxx in UTF-8).
    if (end < bytes.length && (bytes[end] & 0xc0) === 0x80) continue;
    const text = new TextDecoder().decode(Uint8Array.from(bytes.slice(start, end)));
    pieces.push({ text, wrong: wrong.slice(start, end).some(Boolean) });
    start = end;
  }
  return pieces;
}
