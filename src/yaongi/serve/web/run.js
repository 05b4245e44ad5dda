// One answer on its way: asks the server, fills the answer piece by piece, and says how it ended.
import { say } from "./i18n.js";
import { Reader } from "./notice.js";
import { createAnswer } from "./store.js";
import { ChatError, answer as stream, models } from "./stream.js";

// The API's default is OpenAI's 1, made for large models; small ones ramble there. 0 would answer the
// same again and again.
const CALM = { temperature: 0.3 };
const SAVE_EVERY_MS = 2000; // a closed tab loses no more than this

/** The page's own settings for a model: those that nobody chose for it. */
export function calm(model) {
  return Object.fromEntries(Object.entries(CALM).filter(([name]) => !model?.chosen.includes(name)));
}

/** The conversation before `place` as the server reads it, the system prompt first. */
export function messages({ settings, turns }, place) {
  const said = [];
  for (let i = 0; i < place; i += 2) {
    const question = turns[i];
    const reply = turns[i + 1]?.answers?.[turns[i + 1].shown]?.content;
    if (i === place - 1) said.push({ role: "user", content: question.content });
    // A question that got no answer is left out: two in a row are no conversation.
    else if (reply) said.push({ role: "user", content: question.content }, { role: "assistant", content: reply });
  }
  return settings.system ? [{ role: "system", content: settings.system }, ...said] : said;
}

/** An answer for the turn at `place`, by one of the `offered` models; none offered: ask the server. */
export class Run {
  constructor(conversation, place, { key, offered }) {
    const seed = conversation.settings.seed ?? crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;
    Object.assign(this, { conversation, place, key, offered });
    this.answer = createAnswer(conversation.model, seed); // with its seed it can be had again
    this.controller = new AbortController();
    this.reader = new Reader();
  }

  /** Close the connection; the server stops writing. */
  stop() {
    this.controller.abort();
  }

  /** Until the answer has ended, in whatever way. `grown` hears of more text, once a frame; `keep` may save. */
  async finish({ grown, keep }) {
    this.reader.say(say("answering"));
    try {
      await this.fill(grown, keep);
    } catch (error) {
      if (this.controller.signal.aborted) this.answer.finish = "stopped";
      else if (error instanceof ChatError) this.answer.problem = problem(error);
      else throw error;
    }
    this.reader.read(this.answer.content, true);
    if (!this.answer.problem) this.reader.say(say("answered")); // a problem is an alert of its own
  }

  async fill(grown, keep) {
    const { answer } = this;
    let frame = 0;
    let saved = performance.now();
    let first = null;
    for await (const piece of stream(await this.body(), { key: this.key, signal: this.controller.signal })) {
      answer.content += piece.content;
      answer.thinking += piece.thinking;
      answer.finish ??= piece.finish;
      answer.dropped ||= piece.dropped;
      const now = performance.now();
      if (piece.content || piece.thinking) {
        first ??= now;
        answer.tokens += 1; // a piece is about a token, until the server says how many there were
        answer.seconds = (now - first) / 1000;
      }
      if (piece.usage) answer.tokens = piece.usage.completion_tokens;
      this.reader.read(answer.content);
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(grown);
      if (now - saved > SAVE_EVERY_MS) {
        keep();
        saved = now;
      }
    }
  }

  async body() {
    const { conversation, answer } = this;
    const { system, ...sampling } = conversation.settings;
    const offered = this.offered.length ? this.offered : await models(this.key);
    conversation.model ||= offered[0].id;
    answer.model = conversation.model;
    const own = calm(offered.find(({ id }) => id === answer.model));
    const said = messages(conversation, this.place);
    return { ...own, ...sampling, model: answer.model, seed: answer.seed, messages: said };
  }
}

function problem({ kind, status, detail, retryAfter }) {
  return { kind, status, detail, retryAfter };
}
