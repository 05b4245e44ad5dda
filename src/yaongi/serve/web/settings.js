// The settings: of the conversation (kept with it), and of the page (language, colours, key).
import { say, speak } from "./i18n.js";
import { local, session } from "./storage.js";

const NUMBERS = ["temperature", "top_p", "top_k", "max_tokens", "seed"];
const dialog = document.getElementById("settings");
const form = dialog.querySelector("form");

let defaults = {}; // of the model that is asked

/** Open the dialog on a conversation's settings; `changed(settings)` hears of every valid change. */
export function openSettings(settings, { changed, focused = null, taken = {} }) {
  defaults = taken;
  hint();
  form.elements.system.value = settings.system ?? "";
  for (const name of NUMBERS) form.elements[name].value = settings[name] ?? "";
  form.oninput = () => changed(read());
  dialog.showModal();
  if (focused) form.elements[focused].focus();
}

/** What an empty field means, where the server tells it. */
function hint() {
  for (const name of NUMBERS.filter((name) => name !== "seed")) {
    const told = name in defaults ? say("defaultOf", { n: defaults[name] }) : say("serverDefault");
    form.elements[name].placeholder = told;
  }
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
