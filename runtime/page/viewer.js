// What the page shows, which all of its parts share; and window.ntm, for the curious and for tests.

export const $ = (id) => document.getElementById(id);

/** An element with these properties. */
export const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);

export const viewer = {
  model: null, // model.json
  task: null, // a module of tasks/
  network: null,
  size: {}, // of the sequence, by name
  seed: 1, // of the sequence
  sequence: null,
  changes: [], // of the memory, by the visitor: { step, location, change(state) } each
  trace: null, // what the network did, see network.js
  step: 0, // that is shown
  playing: false,
  runs: 0, // begun
  done: 0, // the last that has ended
  /** Whether what was asked for last has been run. */
  settled: () => viewer.runs > 0 && viewer.runs === viewer.done,
};
window.ntm = viewer;

/** Of each head its name and its number, the read heads first, as in the state. */
export function heads() {
  const { read_heads: reads, write_heads: writes } = viewer.model;
  const numbered = (name, count) => Array.from({ length: count }, (_, i) => (count > 1 ? `${name} ${i + 1}` : name));
  return [...numbered("read head", reads), ...numbered("write head", writes)].map((name, head) => [name, head]);
}
