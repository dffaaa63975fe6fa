// The page: a sequence is made, the network runs it, and the player shows the steps. The address holds what is shown,
// so that a link shows it again: #length=20&seed=3&N=128&step=12.
import { buildCards, showCards } from "./cards.js";
import { refit } from "./draw.js";
import { Network } from "./network.js";
import { locationAt, paintPanels, showLegend, showPanels } from "./panels.js";
import { Player } from "./player.js";
import { random } from "./random.js";
import { address, buildSettings, chosenLocations, chosenSize, text, wholeOr } from "./settings.js";
import { BUILT_IN, recorded } from "./tasks/index.js";
import { $, viewer } from "./viewer.js";
import { tell } from "./words.js";

const SAVING = 200; // milliseconds until the address follows: to write it takes longer than to draw a step

const player = new Player(goTo);
let saving;

async function start() {
  const model = await (await fetch("page/model.json")).json();
  viewer.model = model;
  viewer.task = model.sequences ? recorded(model.sequences) : BUILT_IN[model.task.name];
  $("about").textContent = `${model.name}: ${model.about}`;
  document.title = `${model.name}: a Neural Turing Machine`;
  const given = new URLSearchParams(location.hash.slice(1));
  viewer.seed = wholeOr(given.get("seed"), viewer.seed, 0, 2 ** 32 - 1);
  buildSettings(given, renew);
  viewer.network = await Network.load(model);
  $("notice").hidden = true;
  $("choices").disabled = $("view").hidden = $("player").hidden = false;
  showLegend();
  connect();
  await renew();
  goTo(wholeOr(given.get("step"), 0, 0, viewer.sequence.steps));
  if (!given.has("step") && !matchMedia("(prefers-reduced-motion: reduce)").matches) player.play();
}

/** Make the sequence that is asked for, run it, and show it from its beginning. */
async function renew() {
  const { model, task, playing } = viewer;
  player.pause();
  viewer.changes = [];
  if (text()) {
    viewer.sequence = task.encodeText(model.task.options, text());
    viewer.size = { length: viewer.sequence.outputPhase - 1 };
  } else {
    viewer.size = chosenSize();
    viewer.sequence = task.make(model.task.options, viewer.size, random(viewer.seed));
  }
  if (!(await run())) return;
  buildCards();
  goTo(0);
  if (playing) player.play();
}

/** Run the sequence; returns false if another run has begun meanwhile. */
async function run() {
  const number = ++viewer.runs;
  const { network, sequence, changes } = viewer;
  const trace = await network.run(sequence, chosenLocations(), changes, () => number !== viewer.runs);
  if (!trace || number !== viewer.runs) return false;
  viewer.trace = trace;
  viewer.done = number;
  $("step").max = sequence.steps;
  $("restore").disabled = !changes.length;
  paintPanels();
  return true;
}

/** Show a step: what has gone in and come out until then, and the state after it. */
function goTo(step) {
  const { sequence, trace } = viewer;
  if (!trace) return;
  viewer.step = Math.min(Math.max(step, 0), sequence.steps);
  $("step").value = viewer.step;
  $("step").setAttribute("aria-valuetext", `step ${viewer.step} of ${sequence.steps}`);
  showPanels();
  showCards();
  tell();
  clearTimeout(saving);
  saving = setTimeout(() => history.replaceState(null, "", address()), SAVING);
}

/** Disturb a location after the step that is shown: its vector becomes random numbers. */
async function disturb(location) {
  const { step, trace, model } = viewer;
  if (!model.state.memory || !(location >= 0 && location < trace.locations)) return;
  const chance = random(viewer.seed + location + 1);
  const noise = Array.from({ length: model.state.memory.shape[0] }, () => 2 * chance() - 1);
  const change = ({ memory }) => noise.forEach((value, row) => (memory[row * trace.locations + location] = value));
  viewer.changes.push({ step, location, change });
  if (await run()) goTo(step);
}

/** Let the controls act. */
function connect() {
  const moved = (step) => () => {
    player.pause();
    goTo(step());
  };
  const first = moved(() => 0);
  const back = moved(() => viewer.step - 1);
  const forward = moved(() => viewer.step + 1);
  const last = moved(() => viewer.sequence.steps);
  const play = () => player.toggle();
  for (const [id, act] of Object.entries({ first, back, play, forward })) $(id).addEventListener("click", act);
  $("step").addEventListener(
    "input",
    moved(() => Number($("step").value)),
  );
  $("speed").addEventListener("input", () => viewer.playing && player.play());

  $("disturb").addEventListener("click", () => disturb(Number($("location").value)));
  $("restore").addEventListener("click", async () => {
    viewer.changes = [];
    if (await run()) goTo(viewer.step);
  });
  const memory = $("memory").querySelector(":scope > canvas");
  memory.addEventListener("click", (event) => disturb(locationAt(event.offsetX / memory.clientWidth)));

  const keys = { " ": play, ArrowLeft: back, ArrowRight: forward, Home: first, End: last };
  document.addEventListener("keydown", (event) => {
    const modified = event.ctrlKey || event.metaKey || event.altKey;
    // Controls have keys of their own.
    if (modified || event.target.closest("input, select, button") || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  addEventListener("resize", () => {
    refit();
    showLegend();
    goTo(viewer.step);
  });
}

function fail(error) {
  $("notice").hidden = true;
  $("error").hidden = false;
  $("error").textContent = error?.message ?? String(error);
}

addEventListener("unhandledrejection", (event) => fail(event.reason));
viewer.goTo = goTo;
start().catch(fail);
