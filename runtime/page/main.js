// The page: a sequence is made, the network runs it, and the player shows the steps. The address holds what is shown,
// so that a link shows it again: #length=20&seed=3&N=128&step=12.
import { judged, paint, show, signed, unsigned } from "./draw.js";
import { Network } from "./network.js";
import { random } from "./random.js";
import { BUILT_IN, recorded } from "./tasks/index.js";

const VISIBLE = 0.01; // a weight below this is not to be seen
const LOCATIONS = [16, 32, 64, 128, 256, 512, 1024];
const HEIGHT = { row: 11, least: 18, time: 150, memory: 200 }; // of panels, in CSS pixels
const $ = (id) => document.getElementById(id);

/** What the page shows; window.ntm, for the curious and for tests. */
const viewer = {
  model: null, task: null, network: null, size: {}, seed: 1, sequence: null, trace: null, step: 0, changes: [], runs: 0, done: 0,
  /** Whether what was asked for last has been run. */
  settled: () => viewer.runs > 0 && viewer.runs === viewer.done,
};
window.ntm = viewer;
let pictures = {}; // of the whole sequence, by panel
let partCanvases = [];

async function start() {
  const model = await (await fetch("page/model.json")).json();
  const task = model.sequences ? recorded(model.sequences) : BUILT_IN[model.task.name];
  Object.assign(viewer, { model, task });
  $("about").textContent = `${model.name}: ${model.about}`;
  document.title = `${model.name}: a Neural Turing Machine`;
  const given = new URLSearchParams(location.hash.slice(1));
  viewer.seed = wholeOr(given.get("seed"), 1, 0, 2 ** 32 - 1);
  buildSettings(given);
  viewer.network = await Network.load(model);
  $("notice").hidden = true;
  $("view").hidden = $("player").hidden = false;
  drawLegend();
  connect();
  await renew();
  goTo(wholeOr(given.get("step"), 0, 0, viewer.sequence.steps));
  if (!given.has("step") && !matchMedia("(prefers-reduced-motion: reduce)").matches) player.play();
}

const wholeOr = (text, otherwise, least, most) => {
  const number = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isInteger(number) ? Math.min(Math.max(number, least), most) : otherwise;
};

// --- What the visitor chooses

function buildSettings(given) {
  const { model, task } = viewer;
  for (const [name, { least, most, first, names }] of Object.entries(task.sizes(model.task.options))) {
    const value = wholeOr(given.get(name), Math.min(Math.max(first, least), most), least, most);
    const slider = Object.assign(document.createElement("input"), { type: "range", name, min: least, max: most, value });
    const shown = document.createElement("output");
    const label = document.createElement("label");
    const [low, high] = model.training_sizes[name] ?? [];
    label.append(name, slider, shown);
    if (low !== undefined) label.append(Object.assign(document.createElement("small"), { textContent: `trained on ${low === high ? low : `${low} to ${high}`}` }));
    const tell = () => { shown.textContent = names ? names[slider.value] : slider.value; };
    slider.addEventListener("input", () => { tell(); $("settings").elements.text.value = ""; renew(); });
    tell();
    $("sizes").append(label);
  }
  const choice = $("settings").elements.locations;
  const wished = wholeOr(given.get("N"), 0, model.least_locations, 4096);
  const options = model.fixed_locations ? [] : [...LOCATIONS, model.memory_locations, wished];
  choice.add(new Option(model.fixed_locations ? model.memory_locations : "as needed", 0));
  for (const n of [...new Set(options)].filter((n) => n >= model.least_locations).sort((a, b) => a - b)) choice.add(new Option(n, n));
  choice.value = model.fixed_locations ? 0 : wished;
  choice.disabled = model.fixed_locations;
  choice.title = model.fixed_locations ? "This network was trained for one N" : "";
  $("locations").hidden = !model.state.memory;
  $("text").hidden = !task.fitsText?.(model.task.options);
  if (!$("text").hidden) $("settings").elements.text.value = given.get("text") ?? "";
  choice.addEventListener("change", () => renew());
  $("settings").elements.text.addEventListener("input", () => renew());
  $("settings").addEventListener("submit", (event) => event.preventDefault());
  $("another").addEventListener("click", () => {
    viewer.seed = (viewer.seed + 1) % 2 ** 32;
    $("settings").elements.text.value = "";
    renew();
  });
}

/** The sizes of the sliders. */
const chosenSize = () => Object.fromEntries([...$("sizes").querySelectorAll("input")].map(({ name, value }) => [name, Number(value)]));
const text = () => ($("text").hidden ? "" : $("settings").elements.text.value);

/** N that the sequence needs. */
const needed = () => viewer.task.locations(viewer.model.task.options, viewer.size);

/** N: what was chosen, or what the sequence needs, and no less than in training. */
function locationsOf() {
  const { model } = viewer;
  const enough = model.fixed_locations ? model.memory_locations : Math.max(model.memory_locations, needed());
  return Number($("settings").elements.locations.value) || enough;
}

// --- A new sequence, and what the network does with it

/** Make the sequence that is asked for, run it, and show it from its beginning. */
async function renew() {
  const { model, task } = viewer;
  const wasPlaying = player.playing;
  player.pause();
  viewer.changes = [];
  if (text()) {
    viewer.sequence = task.encodeText(model.task.options, text());
    viewer.size = { length: viewer.sequence.outputPhase - 1 };
  } else {
    viewer.size = chosenSize();
    viewer.sequence = task.make(model.task.options, viewer.size, random(viewer.seed));
  }
  if (!(await runAgain())) return;
  buildParts();
  goTo(0);
  if (wasPlaying) player.play();
}

/** Run the sequence; returns false if another run has begun meanwhile. */
async function runAgain() {
  const run = ++viewer.runs;
  const trace = await viewer.network.run(viewer.sequence, locationsOf(), viewer.changes, () => run !== viewer.runs);
  if (!trace || run !== viewer.runs) return false;
  viewer.trace = trace;
  viewer.done = run;
  $("step").max = viewer.sequence.steps;
  $("restore").disabled = !viewer.changes.length;
  paintSequence();
  return true;
}

/** Disturb a location after the step that is shown: its vector becomes random numbers. */
async function disturb(location) {
  const { step, sequence } = viewer;
  const { locations } = viewer.trace;
  if (!viewer.model.state.memory || !(location >= 0 && location < locations)) return;
  const chance = random(viewer.seed + location + 1);
  const change = ({ memory }) => { for (let at = location; at < memory.length; at += locations) memory[at] = 2 * chance() - 1; };
  const values = { ...viewer.trace.states[step], memory: viewer.trace.states[step].memory.slice() };
  change(values);
  const column = Array.from({ length: values.memory.length / locations }, (_, row) => values.memory[row * locations + location]);
  viewer.changes.push({ step, location, change: ({ memory }) => column.forEach((value, row) => { memory[row * locations + location] = value; }) });
  if (step === sequence.steps) viewer.trace.states[step] = values; // nothing comes after it
  else if (!(await runAgain())) return;
  $("restore").disabled = false;
  goTo(step);
}

// --- Pictures

function paintSequence() {
  const { sequence, trace, model } = viewer;
  const { x, steps, inputs, outputs } = sequence;
  const most = largest([x], 1);
  const ofInput = x.some((value) => value < 0) ? signed(most) : (value) => unsigned(value / most);
  const bits = (values) => (row, step) => (sequence.mask[step] ? unsigned(values[step * outputs + row]) : null);
  pictures = {
    x: paint(inputs, steps, (row, step) => ofInput(x[step * inputs + row])),
    target: paint(outputs, steps, bits(sequence.target)),
    y: paint(outputs, steps, judged(sequence, trace.y)),
    optimal: sequence.optimal && paint(outputs, steps, bits(sequence.optimal)),
  };
  $("optimal").hidden = !sequence.optimal;
  $("y").querySelector("small").hidden = Boolean(sequence.optimal);
  $("target").hidden = Boolean(sequence.optimal);
  $("memory").hidden = !model.state.memory;
  viewer.shown = shownLocations();
  viewer.largest = largest(trace.states.map(({ memory }) => memory ?? []), 1);
  $("signed").nextElementSibling.textContent = `−${viewer.largest.toFixed(1)} to ${viewer.largest.toFixed(1)}: the memory`;
  paintStates();
}

/** The largest magnitude in lists of numbers, and no less than a least one. */
function largest(lists, least) {
  let most = least;
  for (const list of lists) for (const value of list) most = Math.max(most, Math.abs(value));
  return most;
}

/**
 * The locations that are worth showing, in order: those where a head goes. Locations are a circle, so that they may go
 * on from the last one to location 0.
 */
function shownLocations() {
  const { trace, changes } = viewer;
  const n = trace.locations;
  const visited = new Uint8Array(n);
  for (const { location } of changes) visited[location] = 1;
  for (const { weights } of trace.states) weights?.forEach((weight, at) => { if (weight > VISIBLE) visited[at % n] = 1; });
  const places = [...visited.keys()].filter((location) => visited[location]);
  // The widest gap between two of them on the circle is left out, if it is worth it.
  let first = 0;
  let gap = 0;
  places.forEach((location, i) => {
    const next = places[i + 1] ?? places[0] + n;
    if (next - location > gap) [first, gap] = [next, next - location];
  });
  const count = n - gap + 1;
  return count > n - 4 ? [...visited.keys()] : Array.from({ length: count + 2 }, (_, i) => (first - 1 + i + n) % n);
}

/** The heads in time, and what the controller carries: a panel each. */
function paintStates() {
  const { trace, model, sequence, shown } = viewer;
  const box = $("over-time");
  const panels = [];
  const states = trace.states.slice(1);
  for (const [name, head] of headNames()) {
    const weight = (row, step) => states[step].weights[head * trace.locations + row];
    panels.push([`${name[0].toUpperCase()}${name.slice(1)}: weighting, location by step`, paint(shown.length, sequence.steps, (row, step) => unsigned(weight(shown[row], step)))]);
  }
  for (const name of Object.keys(model.state).filter((name) => !["memory", "weights", "reads"].includes(name))) {
    const units = states[0][name].length;
    const colour = signed(largest(states.map((state) => state[name]), 1e-9));
    panels.push([`${name}: unit by step`, paint(units, sequence.steps, (row, step) => colour(states[step][name][row]))]);
  }
  while (box.children.length > panels.length) box.lastChild.remove();
  pictures.states = panels.map(([title, picture], i) => {
    const figure = box.children[i] ?? box.appendChild(newPanel());
    figure.firstChild.textContent = title;
    return [figure.lastChild, picture];
  });
}

function newPanel() {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  const figure = document.createElement("figure");
  figure.append(document.createElement("figcaption"), canvas);
  return figure;
}

/** Of each head its name and its number, the read heads first, as in the state. */
function headNames() {
  const { read_heads: reads, write_heads: writes } = viewer.model;
  const numbered = (name, count) => Array.from({ length: count }, (_, i) => (count > 1 ? `${name} ${i + 1}` : name));
  return [...numbered("read head", reads), ...numbered("write head", writes)].map((name, head) => [name, head]);
}

/** Show a step: what has gone in and come out until then, and the state after it. */
function goTo(step) {
  const { sequence, trace, model, changes } = viewer;
  if (!trace) return;
  viewer.step = step = Math.min(Math.max(step, 0), sequence.steps);
  $("step").value = step;
  $("step").setAttribute("aria-valuetext", `step ${step} of ${sequence.steps}`);
  const marks = { cursor: step, phase: sequence.outputPhase };
  const heights = (rows) => Math.max(HEIGHT.least, rows * HEIGHT.row);
  const canvas = (id) => $(id).querySelector("canvas:last-of-type");
  show(canvas("x"), pictures.x, heights(sequence.inputs), { ...marks, until: step });
  if (pictures.optimal) show(canvas("optimal"), pictures.optimal, heights(sequence.outputs), { ...marks, until: step });
  else show(canvas("target"), pictures.target, heights(sequence.outputs), marks);
  show(canvas("y"), pictures.y, heights(sequence.outputs), { ...marks, until: step, columns: wrongSteps(step) });
  for (const [panel, picture] of pictures.states) {
    show(panel, picture, HEIGHT.time, { ...marks, until: step, columns: changes.map((one) => one.step) });
  }
  if (model.state.memory) showMemory();
  showParts();
  tell();
  history.replaceState(null, "", address());
}

const wrongSteps = (until) => {
  const { sequence, trace } = viewer;
  if (sequence.optimal) return [];
  const wrong = (step) => Array.from({ length: sequence.outputs }, (_, row) => row).some((row) => sequence.isWrong(trace.y, step, row));
  return Array.from({ length: until }, (_, step) => step).filter(wrong);
};

function showMemory() {
  const { trace, step, shown, model, changes } = viewer;
  const { memory, weights } = trace.states[step];
  const rows = model.state.memory.shape[0];
  const colour = signed(viewer.largest);
  const disturbed = changes.filter((one) => one.step <= step).map((one) => shown.indexOf(one.location));
  const panel = $("memory").querySelector(":scope > canvas");
  show(panel, paint(rows, shown.length, (row, i) => colour(memory[row * trace.locations + shown[i]])), HEIGHT.memory, { columns: disturbed });
  panel.setAttribute("aria-label", `Memory after step ${step}: ${rows} numbers at each location`);
  const others = trace.locations - shown.length;
  $("shown").textContent = `locations ${shown[0]} to ${shown.at(-1)} of ${trace.locations}${others ? "; no head goes to the others" : ""}`;
  $("location").max = trace.locations - 1;
  const box = $("heads");
  headNames().forEach(([name, head], i) => {
    const row = box.children[i] ?? box.appendChild(document.createElement("div"));
    if (!row.firstChild) row.append(document.createElement("canvas"), Object.assign(document.createElement("span"), { textContent: name }));
    row.firstChild.setAttribute("aria-hidden", "true");
    show(row.firstChild, paint(1, shown.length, (_, i) => unsigned(weights[head * trace.locations + shown[i]])), 18);
  });
}

// --- Cards: what the steps are about

function buildParts() {
  const { model, task, sequence, size } = viewer;
  const parts = task.parts(model.task.options, size, sequence);
  $("parts").hidden = !parts.length;
  viewer.parts = parts;
  partCanvases = parts.map(({ title }) => [Object.assign(document.createElement("span"), { textContent: title }), document.createElement("canvas")]);
  $("parts").replaceChildren(...partCanvases.map((children, i) => {
    const item = document.createElement("li");
    if (parts[i].strong) item.style.fontWeight = "bold";
    item.append(...children);
    return item;
  }));
}

function showParts() {
  const { parts, sequence, trace, step } = viewer;
  parts.forEach(({ from, to, of, channel, channels }, i) => {
    const item = $("parts").children[i];
    item.className = step > from && step <= to ? "now" : step <= from ? "later" : "";
    const canvas = partCanvases[i][1];
    const cell = to - from > 8 ? 6 : 10;
    canvas.style.width = `${(to - from) * cell}px`;
    const colour = of === "y" ? judged(sequence, trace.y) : (row, at) => unsigned(sequence.x[at * sequence.inputs + row]);
    const seen = (row, column) => (from + column < step ? colour(channel + row, from + column) : [255, 255, 255]);
    show(canvas, paint(channels, to - from, seen), channels * cell);
  });
  const box = $("parts");
  const now = box.querySelector(".now");
  if (now) box.scrollLeft = now.offsetLeft - box.clientWidth / 2;
}

// --- In words

function tell() {
  const { sequence, trace, step, task, model } = viewer;
  const phase = step === 0 ? "before the first step" : sequence.mask[step - 1] ? "output phase" : "input phase";
  const { bits, wrong } = sequence.count(trace.y, step);
  const result = sequence.optimal
    ? `cost so far ${sequence.cost(trace.y, step).toFixed(1)} bits, of the optimal estimator ${sequence.cost(sequence.optimal, step).toFixed(1)}`
    : bits ? `${wrong} of ${bits} bits wrong` : "";
  const state = trace.states[step];
  const heads = model.state.memory ? headNames().map(([name, head]) => {
    const weights = state.weights.subarray(head * trace.locations, (head + 1) * trace.locations);
    const location = weights.reduce((best, weight, at) => (weight > weights[best] ? at : best), 0);
    return `${name} at ${location} (${weights[location].toFixed(2)})`;
  }) : [];
  const few = model.state.memory && needed() > trace.locations ? `N = ${trace.locations} is fewer than the ${needed()} locations that this sequence needs` : "";
  $("now").textContent = [`Step ${step} of ${sequence.steps}, ${phase}`, result, heads.join(", "), few].filter(Boolean).join(" · ");
  $("spelled").hidden = !text();
  if (text()) {
    const pieces = task.readText(model.task.options, sequence, trace.y, Math.max(step, sequence.outputPhase));
    $("spelled").querySelector("output").replaceChildren(...pieces.map((piece) => Object.assign(document.createElement(piece.wrong ? "mark" : "span"), { textContent: piece.text })));
  }
}

function address() {
  const { size, seed, step, trace, model } = viewer;
  const parts = { ...size, seed, step };
  if (model.state.memory) parts.N = trace.locations;
  if (text()) parts.text = text();
  return `#${new URLSearchParams(parts)}`;
}

function drawLegend() {
  show($("unsigned"), paint(1, 64, (_, column) => unsigned(column / 63)), 16);
  show($("signed"), paint(1, 65, (_, column) => signed(1)(column / 32 - 1)), 16);
  $("signed").parentNode.hidden = !viewer.model.state.memory;
}

// --- The player

const player = {
  playing: false,
  stepsPerSecond: () => 2 ** Number($("speed").value),
  play() {
    if (viewer.step >= viewer.sequence.steps) goTo(0);
    player.set(true);
    const begun = { time: performance.now(), step: viewer.step };
    const id = (player.id = (player.id ?? 0) + 1);
    const tick = (time) => {
      if (!player.playing || id !== player.id) return;
      const step = begun.step + Math.floor(((time - begun.time) / 1000) * player.stepsPerSecond());
      if (step > viewer.step) goTo(step);
      if (viewer.step >= viewer.sequence.steps) player.set(false);
      else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  },
  pause() { player.set(false); },
  toggle() { player.playing ? player.pause() : player.play(); },
  set(playing) {
    player.playing = playing;
    const button = $("play");
    button.textContent = playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", playing ? "Pause" : "Play");
    $("now").setAttribute("aria-live", playing ? "off" : "polite");
  },
};

function connect() {
  const moved = (step) => () => { player.pause(); goTo(step()); };
  const on = (id, event, act) => $(id).addEventListener(event, act);
  on("first", "click", moved(() => 0));
  on("back", "click", moved(() => viewer.step - 1));
  on("forward", "click", moved(() => viewer.step + 1));
  on("play", "click", () => player.toggle());
  on("step", "input", moved(() => Number($("step").value)));
  on("speed", "input", () => { if (player.playing) player.play(); });
  on("disturb", "click", () => disturb(Number($("location").value)));
  on("restore", "click", async () => {
    viewer.changes = [];
    if (await runAgain()) goTo(viewer.step);
  });
  const memory = $("memory").querySelector(":scope > canvas");
  memory.addEventListener("click", (event) => disturb(viewer.shown[Math.floor((event.offsetX / memory.clientWidth) * viewer.shown.length)]));
  const keys = { " ": () => player.toggle(), ArrowLeft: moved(() => viewer.step - 1), ArrowRight: moved(() => viewer.step + 1), Home: moved(() => 0), End: moved(() => viewer.sequence.steps) };
  document.addEventListener("keydown", (event) => {
    // Controls have keys of their own.
    if (event.target.closest("input, select, button") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  addEventListener("resize", () => { drawLegend(); goTo(viewer.step); });
}

function fail(error) {
  $("notice").hidden = true;
  $("error").hidden = false;
  $("error").textContent = error?.message ?? String(error);
}

addEventListener("unhandledrejection", (event) => fail(event.reason));
start().catch(fail);
