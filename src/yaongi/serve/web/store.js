// Conversations, kept in this browser only: one entry of localStorage each, so that saving one
// rewrites no other and two tabs do not undo each other's work. Nothing is sent anywhere.
//
// conversation: {id, title, changed, model, settings, turns}
// turns:        {role: "user", content} and {role: "assistant", answers: [answer], shown} by turns
// answer:       {content, thinking, finish, problem, model, seed, tokens, seconds, dropped}
//   finish is the server's ("stop", "length"), "stopped" by the person, or "broken" off;
//   problem is {kind, status, detail} of a ChatError; tokens and seconds are of the writing;
//   dropped is how many of the oldest messages no longer fitted the model's context.

import { local, names } from "./storage.js";
import { PROBLEMS } from "./stream.js";

const PREFIX = "yaongi.chat.";
const FORMAT = "yaongi-chats";
const ROLES = ["user", "assistant"];
const SETTINGS = ["temperature", "top_p", "top_k", "max_tokens", "seed"];

/** A new conversation; it is kept from its first message on. */
export function create(settings = {}) {
  const id = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");
  return { id, title: "", changed: Date.now(), model: "", settings: { ...settings }, turns: [] };
}

/** A new answer, with nothing in it yet. */
export function createAnswer(model, seed) {
  const empty = { content: "", thinking: "", finish: null, problem: null };
  return { ...empty, model, seed, tokens: null, seconds: null, dropped: 0 };
}

/** All conversations, the newest first. One that cannot be read is left where it is. */
export function all() {
  const keys = names().filter((key) => key.startsWith(PREFIX));
  const found = keys.map((key) => get(key.slice(PREFIX.length))).filter(Boolean);
  return found.sort((a, b) => b.changed - a.changed);
}

/** A conversation, or null. */
export function get(id) {
  try {
    return clean(JSON.parse(local.getItem(PREFIX + id)));
  } catch {
    return null;
  }
}

/** Keep a conversation. Throws where the browser is full or keeps nothing. */
export function save(conversation) {
  local.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
}

/** Forget a conversation. */
export function remove(id) {
  local.removeItem(PREFIX + id);
}

/** Whether a `storage` event of another tab is about a conversation; its id then. */
export function changedElsewhere(event) {
  return event.key?.startsWith(PREFIX) ? event.key.slice(PREFIX.length) : null;
}

/** The text of a file of conversations. */
export function pack(conversations) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
}

/** The conversations of such a file. Throws where it is none; what is not a conversation is counted. */
export function unpack(text) {
  const file = JSON.parse(text);
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) throw new TypeError(FORMAT);
  const read = file.conversations.map(cleanOrNull);
  return { conversations: read.filter(Boolean), skipped: read.filter((c) => !c).length };
}

function cleanOrNull(value) {
  try {
    return clean(value);
  } catch {
    return null;
  }
}

/** A copy with what belongs there and nothing else: files and storage may hold anything. */
function clean(value) {
  const { id, title, changed, model, settings, turns } = value;
  const byTurns = turns.length % 2 === 0 && turns.every(({ role }, i) => role === ROLES[i % 2]);
  if (!/^[a-z0-9]{8,40}$/.test(id) || !byTurns) throw new TypeError("conversation");
  return {
    id,
    title: text(title),
    changed: number(changed) ?? 0,
    model: text(model),
    settings: cleanSettings(settings),
    turns: turns.map(cleanTurn),
  };
}

function cleanSettings(settings) {
  const numbers = SETTINGS.map((name) => [name, number(settings?.[name])]);
  const kept = Object.fromEntries(numbers.filter(([, n]) => n !== null));
  return settings?.system ? { system: text(settings.system), ...kept } : kept;
}

function cleanTurn({ role, content, answers, shown }) {
  if (role === "user") return { role, content: text(content) };
  if (!answers.length) throw new TypeError("turn");
  const last = answers.length - 1;
  const there = Number.isInteger(shown) && answers[shown]; // "length" is there too
  return { role, answers: answers.map(cleanAnswer), shown: there ? shown : last };
}

function cleanAnswer(answer) {
  return {
    content: text(answer.content),
    thinking: text(answer.thinking),
    finish: answer.finish ? text(answer.finish) : "stopped", // its tab was closed meanwhile
    problem: answer.problem ? cleanProblem(answer.problem) : null,
    model: text(answer.model),
    seed: number(answer.seed),
    tokens: number(answer.tokens),
    seconds: number(answer.seconds),
    dropped: number(answer.dropped) ?? 0,
  };
}

function cleanProblem({ kind, status, detail }) {
  if (!PROBLEMS.includes(kind)) throw new TypeError("problem");
  return { kind, status: number(status) ?? 0, detail: text(detail) };
}

function text(value) {
  if (typeof value !== "string") throw new TypeError("text");
  return value;
}

function number(value) {
  return Number.isFinite(value) ? value : null;
}
