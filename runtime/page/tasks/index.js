// The tasks of the page by name. A task is a module with sizes(options), what the sliders choose; make(options, size,
// chance), a sequence; locations(options, size), the memory locations it needs; parts(options, size, sequence), what
// is shown as cards. Each also has encode(options, content[, size]) and words(...), the content of a sequence.
import * as associativeRecall from "./associative-recall.js";
import * as copy from "./copy.js";
import * as dynamicNGrams from "./dynamic-ngrams.js";
import * as prioritySort from "./priority-sort.js";
import * as repeatCopy from "./repeat-copy.js";

export { recorded } from "./recorded.js";

export const BUILT_IN = {
  copy,
  "repeat-copy": repeatCopy,
  "associative-recall": associativeRecall,
  "dynamic-ngrams": dynamicNGrams,
  "priority-sort": prioritySort,
};
