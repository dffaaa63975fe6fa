// The player: it goes through the steps in time.
import { $, viewer } from "./viewer.js";

export class Player {
  #runs = 0; // so that a run that was replaced ends

  /** goTo(step) shows a step. */
  constructor(goTo) {
    this.goTo = goTo;
  }

  play() {
    if (viewer.step >= viewer.sequence.steps) this.goTo(0);
    this.#set(true);
    const begun = { time: performance.now(), step: viewer.step, run: ++this.#runs };
    const tick = (time) => {
      if (!viewer.playing || begun.run !== this.#runs) return;
      const perSecond = 2 ** Number($("speed").value);
      const step = begun.step + Math.floor(((time - begun.time) / 1000) * perSecond);
      if (step > viewer.step) this.goTo(step);
      if (viewer.step >= viewer.sequence.steps) this.pause();
      else requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  pause() {
    this.#set(false);
  }

  toggle() {
    if (viewer.playing) this.pause();
    else this.play();
  }

  #set(playing) {
    viewer.playing = playing;
    $("play").textContent = playing ? "❚❚" : "▶";
    $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    $("now").setAttribute("aria-live", playing ? "off" : "polite"); // no screen reader follows a film
  }
}
