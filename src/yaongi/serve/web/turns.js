// The two kinds of turns as elements: what the person said, and the model's answers to it.
import { h, icon, iconButton } from "./dom.js";
import { count, say } from "./i18n.js";
import { show } from "./markdown.js";
import { copyAndTell } from "./notice.js";

/** The person's words, as they were typed. */
export function userTurn(turn) {
  const words = h("div", { class: "bubble", dir: "auto" }, turn.content);
  return h("article", { class: "user" }, h("h2", { class: "unseen" }, say("you")), words);
}

/**
 * A turn of the model. `draw(running)` brings the element up to date with the answer shown;
 * actions: {again, giveKey, turnTo(shown)}.
 */
export function answerTurn(turn, actions) {
  const parts = {
    name: h("h2", { class: "name" }),
    thinking: thinkingPart(),
    text: h("div", { class: "text" }),
    waiting: h("p", { class: "waiting" }, h("span", { class: "unseen" }, say("waiting")), dots()),
    end: h("div", { class: "end" }),
    foot: h("footer", {}),
  };
  const element = h("article", { class: "answer", tabindex: -1 }, ...Object.values(parts));
  let drawn = "";

  function draw(running) {
    const answer = turn.answers[turn.shown];
    parts.name.textContent = answer.model;
    parts.waiting.hidden = !running || Boolean(answer.content || answer.thinking);
    parts.thinking.hidden = !answer.thinking;
    const isThinking = running && !answer.content;
    parts.thinking.classList.toggle("now", isThinking);
    parts.thinking.label.textContent = say(isThinking ? "thinking" : "thought");
    if (parts.thinking.body.textContent !== answer.thinking) parts.thinking.body.textContent = answer.thinking;
    show(parts.text, answer.content, { growing: running });
    element.setAttribute("aria-busy", String(running));
    // The buttons are made anew only where they change, so that none vanishes under a finger.
    const state = [running, turn.shown, turn.answers.length, answer.finish, answer.problem?.kind].join();
    if (state !== drawn) {
      const held = element.contains(document.activeElement) && document.activeElement;
      parts.end.replaceChildren(...(running ? [] : ending(answer, actions)));
      parts.foot.replaceChildren(...(running ? [] : buttons(turn, answer, actions)), h("span", { class: "stats" }));
      if (held && !held.isConnected) focusLike(held);
      drawn = state;
    }
    parts.foot.lastChild.textContent = statistics(answer, running);
  }

  /** Whoever works by keyboard stays where they were, or in the answer. */
  function focusLike(old) {
    const [, kind] = old.classList;
    (parts.foot.querySelector(kind ? `.${kind}:enabled` : ":enabled") ?? element).focus({ preventScroll: true });
  }

  return { element, draw };
}

function thinkingPart() {
  const label = h("span");
  const body = h("div", { class: "thoughts", dir: "auto" });
  const part = h("details", { class: "thinking" }, h("summary", {}, label), body);
  return Object.assign(part, { label, body });
}

function dots() {
  return h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
}

function ending(answer, actions) {
  if (answer.problem) return [problemBox(answer.problem, actions)];
  const empty = !answer.content;
  const words = {
    length: say("finishedLength"),
    stopped: say("finishedStopped") + (empty ? ` ${say("notSent")}` : ""),
  };
  const notes = [
    words[answer.finish] ?? (empty && say("finishedEmpty")),
    answer.dropped && say("dropped", { n: answer.dropped }),
  ];
  return notes.filter(Boolean).map((note) => h("p", { class: "note" }, note));
}

/** What went wrong, in a sentence. */
export function problemText({ kind, status, retryAfter }) {
  const text = say(`problem${kind[0].toUpperCase()}${kind.slice(1)}`, { status });
  return retryAfter ? `${text} ${say("retryIn", { n: retryAfter })}` : text;
}

function problemBox(problem, actions) {
  const { kind, detail } = problem;
  const key = kind === "key" && h("button", { type: "button", onclick: actions.giveKey }, say("giveKey"));
  const retry = h("button", { type: "button", class: "again", onclick: actions.again }, icon("again"), say("retry"));
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", {}, problemText(problem)),
    detail && h("p", { class: "detail", dir: "auto" }, say("serverSays", { detail })),
    h("div", { class: "row" }, key, retry),
  );
}

function buttons(turn, answer, actions) {
  const onCopy = () => copyAndTell(answer.content);
  const found = [];
  if (answer.content) found.push(iconButton("copy", say("copyText"), onCopy, { class: "icon copy" }));
  if (!answer.problem) {
    found.push(iconButton("again", say("regenerate"), actions.again, { class: "icon again" }));
  }
  if (turn.answers.length > 1) found.push(chooser(turn, actions.turnTo));
  return found;
}

function chooser({ answers, shown }, turnTo) {
  const name = say("which", { n: shown + 1, all: answers.length });
  const go = (picture, label, to) =>
    iconButton(picture, say(label), () => turnTo(to), { disabled: !answers[to], class: `icon ${label}` });
  return h(
    "span",
    { class: "chooser", role: "group", "aria-label": name },
    go("left", "earlier", shown - 1),
    h("span", { "aria-hidden": "true" }, `${shown + 1}/${answers.length}`),
    go("right", "later", shown + 1),
  );
}

/** Tokens, tokens per second and the seed. While it runs the count is of pieces: about. */
function statistics({ tokens, seconds, seed, finish }, running) {
  if (!tokens) return "";
  const exact = !running && ["stop", "length"].includes(finish);
  const said = [say(exact ? "tokens" : "aboutTokens", { n: count(tokens) })];
  // The first token's time is that of reading the question. What came in one packet has no pace.
  if (tokens > 1 && seconds > 0.02) said.push(say("rate", { n: count((tokens - 1) / seconds, 1) }));
  if (!running && seed !== null) said.push(say("seedOf", { n: seed }));
  return said.join(" · ");
}
