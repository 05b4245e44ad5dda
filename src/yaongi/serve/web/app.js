// The chat page: which conversation is shown, and what sending, stopping and regenerating do.
// Elements are made in turns.js, sidebar.js and settings.js, the server is met in stream.js, and
// store.js keeps everything.
import { composer } from "./composer.js";
import { h } from "./dom.js";
import { say } from "./i18n.js";
import { layout } from "./layout.js";
import { tell } from "./notice.js";
import { calm, Run } from "./run.js";
import { apiKey, followPageSettings, openSettings } from "./settings.js";
import { drawList, exportAll, importFile } from "./sidebar.js";
import { lasts, session } from "./storage.js";
import * as store from "./store.js";
import { ChatError, models } from "./stream.js";
import { answerTurn, problemText, userTurn } from "./turns.js";

const at = (id) => document.getElementById(id);
const runs = new Map(); // conversation id -> Run: one may go on while another is looked at
let shown = store.create();
let views = []; // of the turns of `shown`; the person's need no drawing
let offered = []; // models

const input = composer({ send, stop });
const page = layout({ stop });

function open(conversation) {
  shown = conversation;
  session.setItem("yaongi.open", shown.id);
  drawTurns();
  drawFrame();
  page.toEnd();
  page.closeMenu();
}

function choose(id) {
  open(runs.get(id)?.conversation ?? store.get(id)); // a running one is ahead of what is stored
}

function drawTurns() {
  views = [];
  at("turns").replaceChildren();
  addTurns();
}

/** Draw the turns that have no view yet; the others keep theirs. */
function addTurns() {
  for (const turn of shown.turns.slice(views.length)) {
    const added = view(turn);
    views.push(added);
    at("turns").append(added.element);
    added.draw?.(false);
  }
  draw();
}

function view(turn) {
  if (turn.role === "user") return { element: userTurn(turn) };
  const turnTo = (which) => {
    turn.shown = which;
    keep(shown);
    made.draw(false);
  };
  const made = answerTurn(turn, { again: () => regenerate(turn), giveKey: () => settings("key"), turnTo });
  return made;
}

/** Draw what changes while an answer runs. */
function draw() {
  const running = runs.has(shown.id);
  if (shown.turns.at(-1)?.role === "assistant") views.at(-1).draw(running);
  input.running(running);
  page.follow();
}

/** Draw the list, the title and the models. */
function drawFrame() {
  const title = shown.title || say("newChat");
  at("title").textContent = title;
  document.title = shown.title ? `${title} – yaongi` : "yaongi";
  at("hello").hidden = shown.turns.length > 0;
  drawList(shown.id, { open: choose, renamed, deleted });
  drawModels();
}

function drawModels() {
  const names = offered.map((model) => model.id);
  const known = names.length || !shown.model ? names : [shown.model]; // the server may be back soon
  at("model").replaceChildren(...known.map((name) => h("option", {}, name)));
  if (!known.length) at("model").append(h("option", { value: "" }, say("noModel")));
  if (known.includes(shown.model)) at("model").value = shown.model; // else the first: it may be gone
  at("model").disabled = known.length < 2;
}

function send(text) {
  if (!shown.title) shown.title = beginning(text);
  shown.turns.push({ role: "user", content: text });
  answer(shown.turns.push({ role: "assistant", answers: [], shown: 0 }) - 1);
}

/** The first 40 characters as a reader counts them: no syllable of loose jamo, no emoji is cut. */
function beginning(text) {
  const line = text.slice(0, 400).replace(/\s+/g, " ");
  return Array.from(new Intl.Segmenter().segment(line), (s) => s.segment).slice(0, 40).join("");
}

/** Answer the last question again. An answer with words in it stays to be looked at. */
function regenerate(turn) {
  if (runs.has(shown.id)) return;
  turn.answers = turn.answers.filter((a) => a.content);
  answer(shown.turns.indexOf(turn));
}

async function answer(place) {
  const conversation = shown;
  const turn = conversation.turns[place];
  conversation.model = at("model").value;
  const run = new Run(conversation, place, { key: apiKey(), offered });
  const current = () => runs.get(conversation.id) === run; // not once it was deleted
  turn.shown = turn.answers.push(run.answer) - 1;
  runs.set(conversation.id, run);
  keep(conversation);
  addTurns();
  drawFrame();
  page.toEnd();
  await run.finish({
    grown: () => current() && shown === conversation && draw(),
    keep: () => current() && keep(conversation),
  });
  if (!current()) return;
  runs.delete(conversation.id);
  keep(conversation);
  if (shown === conversation) draw();
  if (!offered.length && !run.answer.problem) findModels(); // a problem has its own way on
}

function stop() {
  runs.get(shown.id)?.stop();
}

function keep(conversation) {
  conversation.changed = Date.now();
  try {
    store.save(conversation);
  } catch {
    tell(say("notKept"));
  }
}

function renamed(conversation) {
  if (conversation.id === shown.id) shown.title = conversation.title;
  const known = runs.get(conversation.id)?.conversation; // it is what will be saved next
  if (known) known.title = conversation.title;
  store.save(conversation);
  drawFrame();
}

function deleted(id) {
  const run = runs.get(id);
  runs.delete(id); // before it stops, or it would save itself once more
  run?.stop();
  store.remove(id);
  if (id === shown.id) return begin();
  drawFrame();
  at("new").focus(); // the button that had the focus is gone
}

function begin() {
  open(store.create(shown.settings));
  input.focus();
}

function settings(focused, problem) {
  const changed = (settings) => {
    shown.settings = settings;
    if (shown.turns.length) keep(shown);
  };
  const model = offered.find(({ id }) => id === at("model").value);
  openSettings(shown.settings, { changed, focused, problem, taken: model?.defaults, own: calm(model) });
}

async function findModels() {
  try {
    offered = await models(apiKey());
  } catch (error) {
    offered = [];
    if (!(error instanceof ChatError)) throw error;
    if (error.kind === "key") settings("key", problemText(error));
    else tell(problemText(error));
  }
  drawFrame();
}

/** Another tab has changed something. */
function follow(event) {
  const id = store.changedElsewhere(event);
  if (id === null) return;
  if (id === shown.id && !runs.has(id)) {
    const stored = store.get(id);
    if (stored) open(stored);
    else begin();
  } else drawFrame();
}

/** The browser closes the connections now: that is the person's doing, no fault of the line. */
function leave() {
  for (const run of runs.values()) {
    run.stop();
    keep(run.conversation);
  }
}

function wire() {
  at("new").addEventListener("click", begin);
  at("export").addEventListener("click", exportAll);
  at("import").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", async ({ target }) => {
    await importFile(target.files[0]);
    target.value = "";
    drawFrame();
  });
  at("open-settings").addEventListener("click", () => settings());
  at("model").addEventListener("change", () => (shown.model = at("model").value));
  for (const example of document.querySelectorAll("#hello button")) {
    example.addEventListener("click", () => input.fill(example.textContent));
  }
  addEventListener("storage", follow);
  addEventListener("pagehide", leave);
  followPageSettings({ spoken: () => (drawTurns(), drawFrame()), keyed: findModels });
}

wire();
open(store.get(session.getItem("yaongi.open")) ?? shown);
findModels();
input.focus();
if (!lasts) tell(say("nothingKept"));
