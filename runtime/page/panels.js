// The panels: input, target and output, the memory, the weightings of the heads, and what a controller carries.
import { judged, paint, show, signed, unsigned } from "./draw.js";
import { $, element, heads, viewer } from "./viewer.js";

const VISIBLE = 0.01; // a weight below this is not to be seen
const HEIGHT = { row: 11, least: 18, time: 150, memory: 200, head: 18, legend: 16 }; // in CSS pixels
const OF_HEADS = ["memory", "weights", "reads"]; // the tensors of the state that have panels of their own

let pictures = { heads: [] }; // of the trace that is shown, by panel
let shown = []; // the locations of the panels, in order

const canvasOf = (figure) => figure.querySelector(":scope > canvas");

/** Paint what does not change from step to step. */
export function paintPanels() {
  const { sequence, trace } = viewer;
  const { x, steps, inputs, outputs } = sequence;
  const most = largest([x], 1);
  const ofInput = x.some((value) => value < 0) ? signed(most) : (value) => unsigned(value / most);
  const bits = (values) => (row, step) => (sequence.mask[step] ? unsigned(values[step * outputs + row]) : null);
  shown = shownLocations();
  pictures = {
    heads: pictures.heads,
    memory: pictures.memory,
    scale: largest(
      trace.states.map(({ memory }) => memory ?? []),
      1,
    ), // of the memory
    wrongSteps: wrongSteps(),
    x: paint(inputs, steps, (row, step) => ofInput(x[step * inputs + row])),
    target: paint(outputs, steps, bits(sequence.target)),
    y: paint(outputs, steps, judged(sequence, trace.y)),
    optimal: sequence.optimal && paint(outputs, steps, bits(sequence.optimal)),
    overTime: paintOverTime(),
  };
  $("target").hidden = $("y").querySelector("small").hidden = Boolean(sequence.optimal);
  $("optimal").hidden = !sequence.optimal;
  $("memory").hidden = !viewer.model.state.memory;
  const scale = pictures.scale.toFixed(1);
  $("signed").nextElementSibling.textContent = `−${scale} to ${scale}: the memory`;
  for (const figure of document.querySelectorAll("#panels figure")) {
    canvasOf(figure).setAttribute("aria-label", figure.querySelector("figcaption").textContent);
  }
}

/** Show the panels at the step of the viewer. */
export function showPanels() {
  const { sequence, step, changes, model } = viewer;
  const marks = { cursor: step, phase: sequence.outputPhase, until: step };
  const height = (rows) => Math.max(HEIGHT.least, rows * HEIGHT.row);
  const outputs = height(sequence.outputs);
  const wrong = pictures.wrongSteps.filter((at) => at < step);
  show(canvasOf($("x")), pictures.x, height(sequence.inputs), marks);
  if (pictures.optimal) show(canvasOf($("optimal")), pictures.optimal, outputs, marks);
  else show(canvasOf($("target")), pictures.target, outputs, { ...marks, until: sequence.steps });
  show(canvasOf($("y")), pictures.y, outputs, { ...marks, columns: wrong });
  const disturbed = changes.map((one) => one.step);
  for (const [canvas, picture] of pictures.overTime)
    show(canvas, picture, HEIGHT.time, { ...marks, columns: disturbed });
  if (model.state.memory) showMemory();
}

/** The location at a share of the width of the memory's panel. */
export const locationAt = (share) => shown[Math.floor(share * shown.length)];

/** Draw the scales of the colours. */
export function showLegend() {
  const grey = paint(1, 64, (_, column) => unsigned(column / 63));
  const colours = paint(1, 65, (_, column) => signed(1)(column / 32 - 1));
  show($("unsigned"), grey, HEIGHT.legend);
  show($("signed"), colours, HEIGHT.legend);
  $("signed").parentNode.hidden = !viewer.model.state.memory;
}

/** The largest magnitude in lists of numbers, and no less than a least one. */
function largest(lists, least) {
  let most = least;
  for (const list of lists) for (const value of list) most = Math.max(most, Math.abs(value));
  return most;
}

/** The steps with a wrong bit. */
function wrongSteps() {
  const { sequence, trace } = viewer;
  if (sequence.optimal) return [];
  const channels = [...Array(sequence.outputs).keys()];
  return [...Array(sequence.steps).keys()].filter((step) =>
    channels.some((row) => sequence.isWrong(trace.y, step, row)),
  );
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
  for (const { weights } of trace.states) {
    weights?.forEach((weight, at) => {
      if (weight > VISIBLE) visited[at % n] = 1;
    });
  }
  const places = [...visited.keys()].filter((location) => visited[location]);
  // The widest gap between two of them on the circle is left out, if it is worth it.
  let [first, gap] = [0, 0];
  places.forEach((location, i) => {
    const next = places[i + 1] ?? places[0] + n;
    if (next - location > gap) [first, gap] = [next, next - location];
  });
  const count = n - gap + 1;
  return count > n - 4 ? [...visited.keys()] : Array.from({ length: count + 2 }, (_, i) => (first - 1 + i + n) % n);
}

/** The weightings of the heads, and what the controller carries: for each a panel's canvas and its picture. */
function paintOverTime() {
  const { trace, model, sequence } = viewer;
  const states = trace.states.slice(1);
  const panels = heads().map(([name, head]) => {
    const weight = (row, step) => unsigned(states[step].weights[head * trace.locations + shown[row]]);
    return [`${name}: weighting, location by step`, paint(shown.length, sequence.steps, weight)];
  });
  for (const name of Object.keys(model.state).filter((tensor) => !OF_HEADS.includes(tensor))) {
    const colour = signed(
      largest(
        states.map((state) => state[name]),
        1e-9,
      ),
    );
    const picture = paint(states[0][name].length, sequence.steps, (row, step) => colour(states[step][name][row]));
    panels.push([`${name}: unit by step`, picture]);
  }
  const box = $("over-time");
  while (box.children.length > panels.length) box.lastChild.remove();
  return panels.map(([title, picture], i) => {
    const figure = box.children[i] ?? box.appendChild(newPanel());
    figure.firstChild.textContent = title[0].toUpperCase() + title.slice(1);
    return [figure.lastChild, picture];
  });
}

function newPanel() {
  const figure = element("figure");
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  figure.append(element("figcaption"), canvas);
  return figure;
}

function showMemory() {
  const { trace, step, model, changes } = viewer;
  const { memory, weights } = trace.states[step];
  const rows = model.state.memory.shape[0];
  const colour = signed(pictures.scale);
  const number = (row, i) => colour(memory[row * trace.locations + shown[i]]);
  pictures.memory = paint(rows, shown.length, number, pictures.memory);
  const disturbed = changes.filter((one) => one.step <= step).map((one) => shown.indexOf(one.location));
  show(canvasOf($("memory")), pictures.memory, HEIGHT.memory, { columns: disturbed });
  const others = trace.locations > shown.length ? "; no head goes to the others" : "";
  $("shown").textContent = `locations ${shown[0]} to ${shown.at(-1)} of ${trace.locations}${others}`;
  $("location").max = trace.locations - 1;
  heads().forEach(([name, head], i) => {
    const row = $("heads").children[i] ?? $("heads").appendChild(newHead(name));
    const weight = (_, column) => unsigned(weights[head * trace.locations + shown[column]]);
    pictures.heads[i] = paint(1, shown.length, weight, pictures.heads[i]);
    show(row.firstChild, pictures.heads[i], HEIGHT.head);
  });
}

function newHead(name) {
  const row = element("div");
  const canvas = element("canvas");
  canvas.setAttribute("aria-hidden", "true"); // the line above the panels tells it in words
  row.append(canvas, element("span", { textContent: name }));
  return row;
}
