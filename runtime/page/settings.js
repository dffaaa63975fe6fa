// What the visitor chooses: the size of the sequence, a text, and N.
import { $, element, viewer } from "./viewer.js";

const LOCATIONS = [16, 32, 64, 128, 256, 512, 1024];
const MOST_LOCATIONS = 4096;

const form = () => $("settings").elements;

/** The whole number in a text, within its limits; otherwise, where it is none. */
export function wholeOr(text, otherwise, least, most) {
  const number = text === null || text.trim() === "" ? NaN : Number(text);
  return Number.isInteger(number) ? Math.min(Math.max(number, least), most) : otherwise;
}

/** Make the controls, with what the address gives; changed is called when the visitor asks for something else. */
export function buildSettings(given, changed) {
  const { model, task } = viewer;
  for (const [name, range] of Object.entries(task.sizes(model.task.options))) {
    $("sizes").append(slider(name, range, given.get(name), changed));
  }
  buildLocations(given.get("N"));
  $("text").hidden = !task.fitsText?.(model.task.options);
  if (!$("text").hidden) form().text.value = given.get("text") ?? "";
  form().locations.addEventListener("change", changed);
  form().text.addEventListener("input", changed);
  $("settings").addEventListener("submit", (event) => event.preventDefault());
  $("another").addEventListener("click", () => {
    viewer.seed = (viewer.seed + 1) % 2 ** 32;
    form().text.value = "";
    changed();
  });
}

function slider(name, { least, most, first, names }, given, changed) {
  const value = wholeOr(given, Math.min(Math.max(first, least), most), least, most);
  const input = element("input", { type: "range", name, min: least, max: most, value });
  const shown = element("output");
  const tell = () => (shown.textContent = names ? names[input.value] : input.value);
  const label = element("label");
  label.append(name, input, shown);
  const [low, high] = viewer.model.training_sizes[name] ?? [];
  const trained = `trained on ${low === high ? low : `${low} to ${high}`}`;
  if (low !== undefined) label.append(element("small", { textContent: trained }));
  input.addEventListener("input", () => {
    tell();
    form().text.value = "";
    changed();
  });
  tell();
  return label;
}

function buildLocations(given) {
  const { least_locations: least, memory_locations: usual, fixed_locations: fixed, state } = viewer.model;
  const choice = form().locations;
  const wished = wholeOr(given, 0, least, MOST_LOCATIONS);
  const numbers = [...new Set(fixed ? [] : [...LOCATIONS, usual, wished])].filter((n) => n >= least);
  choice.add(new Option(fixed ? usual : "as needed", 0));
  for (const n of numbers.sort((a, b) => a - b)) choice.add(new Option(n, n));
  choice.value = fixed ? 0 : wished;
  choice.disabled = fixed;
  choice.title = fixed ? "This network was trained for one N" : "";
  $("locations").hidden = !state.memory;
}

/** The text to copy; empty where there is none. */
export const text = () => ($("text").hidden ? "" : form().text.value);

/** The sizes of the sliders. */
export const chosenSize = () =>
  Object.fromEntries([...$("sizes").querySelectorAll("input")].map(({ name, value }) => [name, Number(value)]));

/** N that the sequence needs. */
export const neededLocations = () => viewer.task.locations(viewer.model.task.options, viewer.size);

/** N: what was chosen, or what the sequence needs, and no less than in training. */
export function chosenLocations() {
  const { memory_locations: usual, fixed_locations: fixed } = viewer.model;
  return Number(form().locations.value) || (fixed ? usual : Math.max(usual, neededLocations()));
}

/** What the address holds, so that a link shows the same. */
export function address() {
  const { size, seed, step, trace, model } = viewer;
  const parts = { ...size, seed, step };
  if (model.state.memory) parts.N = trace.locations;
  if (text()) parts.text = text();
  return `#${new URLSearchParams(parts)}`;
}
