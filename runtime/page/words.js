// The step that is shown, in words.
import { neededLocations, text } from "./settings.js";
import { $, element, heads, viewer } from "./viewer.js";

export function tell() {
  const { sequence, step } = viewer;
  const phase = step === 0 ? "before the first step" : sequence.mask[step - 1] ? "output phase" : "input phase";
  const parts = [`Step ${step} of ${sequence.steps}, ${phase}`, result(), ...whereHeadsAre(), tooFew()];
  $("now").textContent = parts.filter(Boolean).join(" · ");
  $("spelled").hidden = !text();
  if (text()) spell();
}

function result() {
  const { sequence, trace, step } = viewer;
  if (sequence.optimal) {
    const [own, best] = [trace.y, sequence.optimal].map((y) => sequence.cost(y, step).toFixed(1));
    return `cost so far ${own} bits, of the optimal estimator ${best}`;
  }
  const { bits, wrong } = sequence.count(trace.y, step);
  return bits ? `${wrong} of ${bits} bits wrong` : "";
}

function whereHeadsAre() {
  const { trace, step, model } = viewer;
  if (!model.state.memory) return [];
  const { weights } = trace.states[step];
  const told = heads().map(([name, head]) => {
    const own = weights.subarray(head * trace.locations, (head + 1) * trace.locations);
    const location = own.indexOf(own.reduce((most, weight) => Math.max(most, weight)));
    return `${name} at ${location} (${own[location].toFixed(2)})`;
  });
  return [told.join(", ")];
}

function tooFew() {
  const { trace, model } = viewer;
  if (!model.state.memory || neededLocations() <= trace.locations) return "";
  return `N = ${trace.locations} is fewer than the ${neededLocations()} locations that this sequence needs`;
}

/** The text that has been read back, with its wrong characters marked. */
function spell() {
  const { task, model, sequence, trace, step } = viewer;
  const pieces = task.readText(model.task.options, sequence, trace.y, Math.max(step, sequence.outputPhase));
  const spelled = pieces.map((piece) => element(piece.wrong ? "mark" : "span", { textContent: piece.text }));
  $("spelled")
    .querySelector("output")
    .replaceChildren(...spelled);
}
