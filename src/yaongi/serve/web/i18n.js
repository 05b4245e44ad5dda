// The page in Korean or English: the browser's language, until the person chooses.
import { WORDS } from "./words.js";

const LANGUAGES = ["en", "ko"]; // the order of the columns in words.js
let language = "en";

/** Choose a language, "" for the browser's, and say everything marked in the page in it. */
export function speak(wanted) {
  const known = navigator.languages.map((tag) => tag.slice(0, 2)).filter((l) => LANGUAGES.includes(l));
  language = wanted || known[0] || "en";
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-say]")) {
    element.textContent = say(element.dataset.say);
  }
  for (const element of document.querySelectorAll("[data-say-hint]")) {
    element.placeholder = say(element.dataset.sayHint);
  }
  for (const element of document.querySelectorAll("[data-say-name]")) {
    element.setAttribute("aria-label", say(element.dataset.sayName));
    if (element.matches("button, select")) element.title = say(element.dataset.sayName);
  }
}

/** A sentence of words.js with its {fields} filled in. */
export function say(key, fields = {}) {
  const words = WORDS[key];
  if (!words) throw new Error(`words.js has no "${key}".`);
  return words[LANGUAGES.indexOf(language)].replace(/\{(\w+)\}/g, (_, name) => fields[name]);
}

/** A number as the language writes it. */
export function count(value, digits = 0) {
  return value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
