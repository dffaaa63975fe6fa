// Heat maps on canvases, in the colours of ntm-eval --trace: what is from 0 to 1 is white to black; what has a sign is
// purple below 0, white at 0 and orange above.

const PURPLE_TO_ORANGE = [
  [0x3f, 0x00, 0x7d],
  [0x80, 0x7d, 0xba],
  [255, 255, 255],
  [0xfd, 0x8d, 0x3c],
  [0x8c, 0x2d, 0x04],
];
const IGNORED = [0xdd, 0xdd, 0xdd];
const WRONG = [0xd5, 0x5e, 0x00];
const PHASE = "#0072b2";
const CURSOR = "#009e73";

// The canvases that are as large as the page lets them be, with their heights: to measure one takes longer than to draw.
let fitted = new WeakMap();

/** Measure all canvases anew, since the page has another size. */
export const refit = () => {
  fitted = new WeakMap();
};

/** The colour of a number from 0 to 1. */
export function unsigned(value) {
  const grey = 255 * (1 - Math.min(Math.max(value, 0), 1));
  return [grey, grey, grey];
}

/** The colours of numbers from -largest to largest. */
export const signed = (largest) => (value) => {
  const at = (Math.min(Math.max(value / largest, -1), 1) + 1) * 2;
  const low = Math.min(Math.floor(at), 3);
  return PURPLE_TO_ORANGE[low].map((part, i) => part + (at - low) * (PURPLE_TO_ORANGE[low + 1][i] - part));
};

/**
 * A picture with a pixel for each cell.
 *
 * @param colour colour(row, column) is [red, green, blue], or null where nothing counts.
 * @param before a picture of the same panel that is not needed any more, or nothing.
 */
export function paint(rows, columns, colour, before) {
  const picture = before ?? document.createElement("canvas");
  if (picture.width !== columns) picture.width = columns;
  if (picture.height !== rows) picture.height = rows;
  const context = picture.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const [red, green, blue] = colour(row, column) ?? IGNORED;
      image.data.set([red, green, blue, 255], at);
      at += 4;
    }
  }
  context.putImageData(image, 0, 0);
  return picture;
}

/** Bits [T, O] that may be wrong: such a cell is orange, the stronger the further the output is from the target. */
export const judged = (sequence, y) => (row, step) => {
  if (!sequence.mask[step]) return null;
  const grey = unsigned(y[step * sequence.outputs + row]);
  if (!sequence.isWrong(y, step, row) || sequence.optimal) return grey;
  return WRONG;
};

/**
 * Show a picture in a canvas of the page.
 *
 * @param canvas the canvas; it is as wide as the page lets it be.
 * @param picture what paint returned.
 * @param height in CSS pixels.
 * @param marks.until show only the columns before this one; marks.cursor, marks.phase: columns to mark;
 *   marks.columns: a list of columns to mark at the bottom.
 */
export function show(canvas, picture, height, marks = {}) {
  const scale = window.devicePixelRatio || 1;
  if (fitted.get(canvas) !== height) {
    canvas.style.height = `${height}px`;
    canvas.width = Math.round((canvas.clientWidth || picture.width) * scale);
    canvas.height = Math.round(height * scale);
    fitted.set(canvas, height);
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const column = canvas.width / picture.width;
  context.imageSmoothingEnabled = column < 1; // more columns than pixels
  const until = marks.until ?? picture.width;
  if (until > 0) context.drawImage(picture, 0, 0, until, picture.height, 0, 0, until * column, canvas.height);
  const line = (at, style) => {
    context.fillStyle = style;
    context.fillRect(Math.round(at * column) - scale, 0, 2 * scale, canvas.height);
  };
  if (marks.phase > 0) line(marks.phase, PHASE);
  if (marks.cursor !== undefined) line(marks.cursor, CURSOR);
  context.fillStyle = `rgb(${WRONG})`;
  for (const at of marks.columns ?? [])
    context.fillRect(at * column, canvas.height - 5 * scale, Math.max(column, 3 * scale), 5 * scale);
}
