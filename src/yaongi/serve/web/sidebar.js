// The list of conversations: choose, rename, export, delete; and files of them, out and in.
import { askSure, askText } from "./dialogs.js";
import { h, iconButton } from "./dom.js";
import { say } from "./i18n.js";
import { tell } from "./notice.js";
import * as store from "./store.js";

const LARGEST_FILE = 20 * 2 ** 20; // bytes; browsers keep 5 to 10 MB

/** Draw the list. actions: {open(id), renamed(conversation), deleted(id)}. */
export function drawList(current, actions) {
  const list = document.getElementById("conversations");
  const conversations = store.all();
  const { id, kind } = list.contains(document.activeElement) ? document.activeElement.dataset : {};
  document.getElementById("no-chats").hidden = conversations.length > 0;
  list.replaceChildren(...conversations.map((c) => row(c, c.id === current, actions)));
  if (id) list.querySelector(`[data-id="${id}"][data-kind="${kind}"]`)?.focus();
}

function row(conversation, isCurrent, actions) {
  const { id, title } = conversation;
  const button = (name, label, onclick) =>
    iconButton(name, say(label, { title }), onclick, { "data-id": id, "data-kind": name });
  const open = h(
    "button",
    {
      type: "button",
      class: "open",
      "aria-current": isCurrent && "true",
      "data-id": id,
      "data-kind": "open",
      onclick: () => actions.open(id),
    },
    h("bdi", {}, title),
  );
  return h(
    "li",
    {},
    open,
    button("rename", "renameOf", () => rename(conversation, actions)),
    button("export", "exportOf", () => download([store.get(id)], fileName(title))),
    button("delete", "deleteOf", () => remove(conversation, actions)),
  );
}

async function rename({ id, title }, actions) {
  const wanted = (await askText(say("title"), title))?.trim();
  const conversation = store.get(id); // it may have grown while the question stood there
  if (wanted && conversation) actions.renamed(Object.assign(conversation, { title: wanted }));
}

async function remove({ id, title }, actions) {
  if (await askSure(say("deleteAsk"), title, say("delete"))) actions.deleted(id);
}

/** Save all conversations as a file. */
export function exportAll() {
  download(store.all(), "yaongi-chats.json");
}

function fileName(title) {
  return `${title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 40) || "chat"}.json`;
}

function download(conversations, name) {
  const url = URL.createObjectURL(new Blob([store.pack(conversations)], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the click only begins the download
}

/** Add the conversations of a file; one that is here already stays beside the one from the file. */
export async function importFile(file) {
  let found;
  try {
    if (file.size > LARGEST_FILE) throw new RangeError(file.name);
    found = store.unpack(await file.text());
  } catch {
    tell(say("importBad"));
    return;
  }
  const n = keep(found.conversations);
  if (n < found.conversations.length) tell(say("importLarge", { n }));
  else if (found.skipped) tell(say("importedSome", { n, skipped: found.skipped }));
  else tell(say("imported", { n }));
}

function keep(conversations) {
  let kept = 0;
  for (const conversation of conversations) {
    const taken = store.get(conversation.id) !== null;
    try {
      store.save(taken ? { ...conversation, id: store.create().id } : conversation);
    } catch {
      return kept; // full: what came before is safe
    }
    kept += 1;
  }
  return kept;
}
