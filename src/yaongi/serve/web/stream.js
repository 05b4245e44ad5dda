// Talks to the OpenAI-compatible server that this page comes from.
// Server-sent events are read by hand because EventSource can neither POST nor send a key.

/** What a person can do about it is in `kind`, one of PROBLEMS; `detail` is what the server said. */
export class ChatError extends Error {
  constructor(kind, { status = 0, detail = "", retryAfter = 0 } = {}) {
    super(detail || kind);
    Object.assign(this, { kind, status, detail, retryAfter });
  }
}

export const PROBLEMS = [
  "key", "large", "context", "busy", "unavailable", "refused", "failed", "offline", "midway", "broken",
];
const KINDS = { 401: "key", 413: "large", 429: "busy", 503: "unavailable" };
const TOO_LONG = ["context_length_exceeded", "prompt_too_long"]; // codes

/**
 * The models that the server offers: {id, defaults, chosen}, the sampling settings it takes by itself,
 * and the names of those that somebody chose for the model.
 */
export async function models(key) {
  const response = await request("v1/models", { headers: headers(key) });
  const { data } = await response.json();
  return data.map((model) => ({
    id: String(model.id),
    defaults: Object(model.default_sampling_params),
    chosen: [].concat(model.chosen_sampling_params ?? []),
  }));
}

/**
 * An answer, piece by piece: {content, thinking, finish, usage, dropped}, each only where it came.
 * Leaving the loop or aborting `signal` closes the connection, which frees the server's place.
 */
export async function* answer(body, { key, signal }) {
  const response = await request("v1/chat/completions", {
    method: "POST",
    headers: { ...headers(key), "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  let finished = false;
  for await (const data of events(response, signal)) {
    if (data === "[DONE]") return;
    const piece = read(data);
    finished ||= Boolean(piece.finish);
    yield piece;
  }
  if (!finished) throw new ChatError("broken");
}

function headers(key) {
  if (!/^[\x20-\x7e]*$/.test(key)) throw new ChatError("key"); // no header can carry it
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ChatError("offline");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const said = await response.text().catch(() => "");
  let error = {};
  try {
    error = JSON.parse(said).error ?? {};
  } catch {
    error = { message: said.slice(0, 500) }; // a proxy's page: text, and shown as text
  }
  const status = response.status;
  const kind =
    TOO_LONG.includes(error.code) ? "context" : (KINDS[status] ?? (status < 500 ? "refused" : "failed"));
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  return new ChatError(kind, { status, detail: String(error.message ?? ""), retryAfter });
}

/** The `data` of each event. */
async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } catch (error) {
    if (signal.aborted || error instanceof ChatError) throw error;
    throw new ChatError("broken");
  } finally {
    reader.cancel().catch(() => {}); // already closed where the connection was lost
  }
}

function read(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new ChatError("broken", { detail: data.slice(0, 200) });
  }
  if (chunk.error) {
    throw new ChatError("midway", { detail: String(chunk.error.message ?? "") });
  }
  const choice = chunk.choices?.[0];
  return {
    content: choice?.delta?.content ?? "",
    thinking: choice?.delta?.reasoning_content ?? "",
    finish: choice?.finish_reason ?? null,
    usage: chunk.usage ?? null,
    dropped: chunk.dropped_messages ?? 0,
  };
}
