// Random numbers that a seed decides, so that a link shows the same sequence again: mulberry32.

/** A function that returns numbers from [0, 1). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A list of random bits. */
export const bits = (chance, count) => Array.from({ length: count }, () => Number(chance() < 0.5));

/** A whole number from least to most - 1. */
export const whole = (chance, least, most) => least + Math.floor(chance() * (most - least));
