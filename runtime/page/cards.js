// Cards: the parts of a sequence that its task names, such as the items of a list and the answer.
import { judged, paint, show, unsigned } from "./draw.js";
import { $, element, viewer } from "./viewer.js";

const CELL = { usual: 10, many: 6 }; // of a bit, in CSS pixels
const MANY = 8; // columns of a card

let cards = []; // of each part its card, its canvas, and what is drawn there

/** Make the cards of a new sequence. */
export function buildCards() {
  const { model, task, sequence, size } = viewer;
  cards = task.parts(model.task.options, size, sequence).map((part) => {
    const item = element("li");
    const canvas = element("canvas");
    const cell = part.to - part.from > MANY ? CELL.many : CELL.usual;
    canvas.style.width = `${(part.to - part.from) * cell}px`;
    if (part.strong) item.style.fontWeight = "bold";
    item.append(element("span", { textContent: part.title }), canvas);
    return { part, item, canvas, cell };
  });
  $("parts").hidden = !cards.length;
  $("parts").replaceChildren(...cards.map(({ item }) => item));
}

/** Show the cards at the step of the viewer; only those that have changed are drawn. */
export function showCards() {
  const { sequence, trace, step } = viewer;
  const seen = { x: (row, at) => unsigned(sequence.x[at * sequence.inputs + row]), y: judged(sequence, trace.y) };
  for (const card of cards) {
    const { from, to, of, channel, channels } = card.part;
    const when = step <= from ? "later" : step <= to ? "now" : "";
    if (card.item.className !== when) {
      card.item.className = when;
      if (when === "now") $("parts").scrollLeft = card.item.offsetLeft - $("parts").clientWidth / 2;
    }
    const until = Math.min(Math.max(step, from), to); // the columns before it are shown
    if (card.trace === trace && card.until === until) continue;
    Object.assign(card, { trace, until });
    const colour = (row, i) => (from + i < until ? seen[of](channel + row, from + i) : [255, 255, 255]);
    card.picture = paint(channels, to - from, colour, card.picture);
    show(card.canvas, card.picture, channels * card.cell);
  }
}
