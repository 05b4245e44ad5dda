// Says things that belong to no message: a line that is seen and read aloud, then goes.
import { copy, h } from "./dom.js";
import { say } from "./i18n.js";

const SHOWN_MS = 6000;

/** A line at the foot of the page. */
export function tell(text) {
  const line = h("p", {}, text);
  document.getElementById("notices").replaceChildren(line);
  setTimeout(() => line.remove(), SHOWN_MS);
}

/** Copy a text, and say whether it went well. */
export function copyAndTell(text) {
  return copy(text).then(() => tell(say("copied")), () => tell(say("copyFailed")));
}

/** Only for those who listen: the parts of a growing answer, sentence by sentence. */
export class Reader {
  constructor() {
    this.place = document.getElementById("spoken");
    this.said = 0;
    this.place.replaceChildren();
  }

  /** Read on up to the last sentence that ended; all of it when `done`. */
  read(text, done = false) {
    const ends = [...text.slice(this.said).matchAll(/[.!?。…]\s|\n/g)];
    const end = done ? text.length : this.said + (ends.length ? ends.at(-1).index + 1 : 0);
    this.say(text.slice(this.said, end));
    this.said = end;
  }

  /** Say a text now, without the marks of Markdown. */
  say(text) {
    const words = text.replace(/[*#`|]+/g, " ").trim();
    if (words) this.place.append(h("p", {}, words));
  }
}
