// A task that is not built in: sequences that it made when the network was exported.
import { whole } from "../random.js";
import { Sequence } from "../sequence.js";

/** The task of the sequences of a file: { size, x, target, mask, optimal } each, x a list of steps. */
export function recorded(sequences) {
  const names = [...new Set(sequences.map(({ size }) => describe(size)))];
  return {
    sizes: () => ({ size: { least: 0, most: names.length - 1, first: 0, names } }),
    locations: (_, size) => sequences.find((one) => describe(one.size) === names[size.size]).locations,
    make(_, size, chance) {
      const fitting = sequences.filter((one) => describe(one.size) === names[size.size]);
      return decode(fitting[whole(chance, 0, fitting.length)]);
    },
    parts: () => [],
  };
}

export function decode({ x, target, mask, optimal }) {
  const sequence = new Sequence(x.length, x[0].length, target[0].length);
  x.forEach((numbers, step) => sequence.input(step, numbers));
  sequence.target.set(target.flat());
  sequence.mask.set(mask);
  sequence.optimal = optimal ? Float32Array.from(optimal.flat()) : null;
  return sequence;
}

const describe = (size) =>
  Object.entries(size)
    .map(([name, number]) => `${name} ${number}`)
    .join(", ");
