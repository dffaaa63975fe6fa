// The repeat copy task: ntm/tasks/repeat_copy.py, whose encoding this is.
import { bits as randomBits } from "../random.js";
import { Sequence } from "../sequence.js";

const MEAN = 5.5;
const DEVIATION = Math.sqrt(8.25); // of the counts 1 to 10

export const sizes = () => ({
  length: { least: 1, most: 40, first: 6 },
  repeats: { least: 1, most: 20, first: 4 },
});
// The steps that show the count, if it is not a number: models that were trained before this option lack it.
const countingSteps = ({ count }, { repeats }) => (count === "steps" ? repeats : 0);
export const locations = (options, size) => 2 * size.length + 2 + countingSteps(options, size);

export function make(options, size, chance) {
  const words = Array.from({ length: size.length }, () => randomBits(chance, options.bits));
  return encode(options, words, size);
}

export function encode(options, words, size) {
  const { bits } = options;
  const { repeats } = size;
  const length = words.length;
  const counting = countingSteps(options, size);
  const first = length + 1 + counting; // of the output phase
  const steps = first + repeats * length + 1;
  const sequence = new Sequence(steps, bits + 2, bits + 1);
  words.forEach((word, i) => sequence.input(i, word));
  sequence.input(length, [1, counting ? 0 : (repeats - MEAN) / DEVIATION], bits);
  for (let i = 0; i < counting; i++) sequence.input(length + 1 + i, [1], bits + 1);
  for (let i = 0; i < repeats * length; i++) sequence.expect(first + i, words[i % length]);
  sequence.expect(steps - 1, [1], bits);
  return sequence;
}

/** The words in what a network sees. */
export const words = ({ bits }, sequence, { length }) => Array.from({ length }, (_, i) => sequence.at(i, bits));

export function parts(options, size) {
  const { bits } = options;
  const { length, repeats } = size;
  const first = length + 1 + countingSteps(options, size);
  const rows = { channel: 0, channels: bits };
  return [
    { title: "words", from: 0, to: length, of: "x", ...rows },
    ...Array.from({ length: repeats }, (_, i) => ({
      title: `${i + 1} of ${repeats}`,
      from: first + i * length,
      to: first + (i + 1) * length,
      of: "y",
      ...rows,
    })),
    {
      title: "end",
      from: first + repeats * length,
      to: first + repeats * length + 1,
      of: "y",
      channel: bits,
      channels: 1,
    },
  ];
}
