// Code: its language, a button that copies it, and colours. highlight.js comes with the first code.
import { h, iconButton } from "./dom.js";
import { say } from "./i18n.js";
import { copyAndTell } from "./notice.js";

const LONGEST = 50_000; // characters that are coloured; more would stop the page
// Bidirectional controls and what has no width: code that reads otherwise than it runs.
// Source: Boucher & Anderson 2021, "Trojan Source", arXiv:2111.00169.
const HIDDEN = /[\u061C\u200B\u200E\u200F\u202A-\u202E\u2060-\u2064\u2066-\u2069\uFEFF]/g;

/** A block of code. Colours only once it is `settled`: what still grows would be coloured again and again. */
export function codeBlock(source, language, settled) {
  const code = h("code", {}, source);
  const onCopy = () => copyAndTell(source);
  const label = h("span", {}, language || say("code"));
  const head = h("div", { class: "code-head" }, label, iconButton("copy", say("copyCode"), onCopy));
  const body = h("pre", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("code"), dir: "ltr" }, code);
  if (settled && language && source.length <= LONGEST) colour(code, source, language);
  return h("div", { class: "code" }, head, warning(source), body);
}

function warning(source) {
  const found = [...new Set(source.match(HIDDEN))];
  const codes = found.map((c) => `U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  return found.length > 0 && h("p", { class: "warning" }, say("hidden", { codes: codes.join(", ") }));
}

async function colour(code, source, language) {
  const { default: highlighter } = await import("./vendor/highlight.min.js");
  if (!highlighter.getLanguage(language)) return;
  const { _emitter } = highlighter.highlight(source, { language, ignoreIllegals: true });
  code.replaceChildren(...coloured(_emitter.root.children)); // the tree: `value` would be HTML
}

function coloured(nodes) {
  return nodes.map((node) => {
    if (typeof node === "string") return document.createTextNode(node);
    const scope = node.scope?.split(".")[0] ?? "";
    return h("span", { class: `code-${scope.replace(/[^a-z]/g, "-")}` }, ...coloured(node.children));
  });
}
