// The settings: of the conversation (kept with it), and of the page (language, colours, key).
import { say, speak } from "./i18n.js";
import { tell } from "./notice.js";
import { local, session } from "./storage.js";

const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "seed"];
const dialog = document.getElementById("settings");
const form = dialog.querySelector("form");

const keyProblem = document.getElementById("key-problem");
const outOfRange = document.getElementById("out-of-range");

let defaults = {}; // for the model that is asked: the server's, and before them the page's own

/**
 * Open the dialog on a conversation's settings; `changed(settings)` hears of every valid change.
 * `problem` says why the key is asked for.
 */
export function openSettings(settings, { changed, focused = null, problem = "", taken = {}, own = {} }) {
  defaults = { ...taken, ...own };
  keyProblem.textContent = problem;
  hint();
  form.elements.system.value = settings.system ?? "";
  for (const name of NUMBERS) form.elements[name].value = settings[name] ?? "";
  complain();
  form.oninput = () => {
    complain();
    changed(read());
  };
  if (!dialog.open) dialog.showModal();
  if (focused) form.elements[focused].focus();
}

/** What an empty field means, where the server tells it. */
function hint() {
  for (const name of NUMBERS.filter((name) => name !== "seed")) {
    const told = name in defaults ? say("defaultOf", { n: defaults[name] }) : say("serverDefault");
    form.elements[name].placeholder = told;
  }
}

/** Say which fields are out of range; they count as empty. */
function complain() {
  const fields = NUMBERS.map((name) => form.elements[name]);
  for (const field of fields) field.ariaInvalid = String(!field.validity.valid);
  const wrong = fields.filter((field) => !field.validity.valid).map(range);
  outOfRange.textContent = wrong.length ? [...wrong, say("notTaken")].join("\n") : "";
}

function range({ labels, min, max, step }) {
  const name = labels[0].textContent;
  return step === "any" ? say("rangeOf", { name, min, max }) : say("wholeFrom", { name, min });
}

/** What the fields say; an empty or impossible one is the server's to decide. */
function read() {
  const system = form.elements.system.value.trim();
  const filled = NUMBERS.filter((name) => form.elements[name].value && form.elements[name].validity.valid);
  const numbers = filled.map((name) => [name, form.elements[name].valueAsNumber]);
  return { ...(system && { system }), ...Object.fromEntries(numbers) };
}

/** The key for servers that want one: until the tab is closed, and never beside the conversations. */
export function apiKey() {
  return session.getItem("yaongi.key") ?? "";
}

/** Follow the page's own settings, now and when they change; `spoken` hears of another language, `keyed` of a key. */
export function followPageSettings({ spoken, keyed }) {
  const { language, theme, key } = form.elements;
  key.value = apiKey();
  key.addEventListener("input", () => (keyProblem.textContent = ""));
  dialog.addEventListener("close", () => outOfRange.textContent && tell(outOfRange.textContent));
  key.addEventListener("change", () => {
    session.setItem("yaongi.key", key.value.trim());
    keyed();
  });
  theme.value = document.documentElement.dataset.theme;
  theme.addEventListener("change", () => {
    document.documentElement.dataset.theme = theme.value;
    local.setItem("yaongi.theme", theme.value);
  });
  language.value = local.getItem("yaongi.language") ?? "";
  speak(language.value);
  language.addEventListener("change", () => {
    local.setItem("yaongi.language", language.value);
    speak(language.value);
    hint();
    spoken();
  });
}
