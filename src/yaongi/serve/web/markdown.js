// Markdown to elements. markdown-it only reads (HTML stays text); its tokens are built into the page
// here, from a fixed list of tags. Pictures are not loaded: an address in an answer would tell
// its owner who reads it.
import { codeBlock } from "./code.js";
import { h } from "./dom.js";
import { say } from "./i18n.js";
import MarkdownIt from "./vendor/markdown-it.min.js";

const md = new MarkdownIt({ html: false, linkify: true, breaks: true });
md.disable("strikethrough"); // in Korean ~~ is a drawn-out voice: 네~~ 좋아요~~
md.linkify.set({ fuzzyLink: false, fuzzyEmail: false }); // README.md is a file, not a site
md.validateLink = (address) => /^(https?:\/\/|mailto:)/i.test(address.trim());

/**
 * In CommonMark `**사과(apple)**는` is not bold: a mark between punctuation and a letter closes nothing,
 * since English has a space there. Beside a letter written without spaces a mark may do both.
 * Source: T. Uchino, markdown-cjk-friendly, https://github.com/tats-u/markdown-cjk-friendly
 */
class KoreanState extends md.inline.State {
  scanDelims(start, canSplitWord) {
    const found = super.scanDelims(start, canSplitWord);
    const before = this.src.slice(0, start).at(-1) ?? " ";
    const after = this.src[start + found.length] ?? " ";
    const beside = /[\p{sc=Hangul}\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]/u;
    if (!canSplitWord || /\s/.test(before + after) || !beside.test(before + after)) return found;
    return { ...found, can_open: true, can_close: true };
  }
}
md.inline.State = KoreanState;

const TAGS = new Set(
  "p h1 h2 h3 h4 h5 h6 ul ol li blockquote table thead tbody tr th td em strong a".split(" "),
);
const OUTLINE = { h1: "h3", h2: "h4", h3: "h5", h4: "h6", h5: "h6" }; // h1 and h2 are the page's

/** Show a text that may still grow. Blocks that did not change keep their elements and selection. */
export function show(container, text, { growing = false } = {}) {
  const blocks = split(text);
  blocks.forEach((block, at) => {
    const settled = !growing || at < blocks.length - 1;
    const key = `${settled} ${block.source}`;
    const old = container.children[at];
    if (old?.source === key) return;
    const element = build(block.tokens, settled);
    element.source = key;
    if (old) old.replaceWith(element);
    else container.append(element);
  });
  while (container.children.length > blocks.length) container.lastElementChild.remove();
}

/** The outermost blocks: their tokens, and what they were written as. */
function split(text) {
  const lines = text.split("\n");
  const environment = {};
  const blocks = [];
  for (const token of md.parse(text, environment)) {
    if (token.level === 0 && token.nesting >= 0) {
      const references = Object.keys(environment.references ?? {}).length; // may turn text into links
      const source = `${references} ${lines.slice(...token.map).join("\n")}`;
      blocks.push({ source, tokens: [] });
    }
    blocks.at(-1).tokens.push(token);
  }
  return blocks;
}

function build(tokens, settled) {
  const root = document.createDocumentFragment();
  fill(root, tokens, settled);
  return root.firstElementChild;
}

function fill(root, tokens, settled) {
  const open = [root];
  for (const token of tokens) {
    if (token.hidden) continue; // the paragraphs of a tight list
    const parent = open.at(-1);
    if (token.nesting > 0) open.push(opened(token, parent));
    else if (token.nesting < 0) open.pop();
    else if (token.type === "inline") fill(parent, token.children, settled);
    else parent.append(leaf(token, settled));
  }
}

function opened(token, parent) {
  const tag = TAGS.has(token.tag) ? token.tag : "span";
  const element = h(OUTLINE[tag] ?? tag, { dir: token.block && "auto" });
  if (tag === "a") Object.assign(element, link(token.attrGet("href")));
  if (tag === "ol" && token.attrGet("start") !== null) element.start = token.attrGet("start");
  const align = token.attrGet("style")?.match(/^text-align:(left|center|right)$/)?.[1];
  if (align) element.className = align;
  if (tag === "table") {
    parent.append(h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("table") }, element));
  } else parent.append(element);
  return element;
}

function leaf(token, settled) {
  switch (token.type) {
    case "fence":
    case "code_block":
      return codeBlock(token.content.replace(/\n$/, ""), token.info.trim().split(/\s/)[0], settled);
    case "code_inline":
      return h("code", {}, token.content);
    case "hr":
      return h("hr");
    case "softbreak":
    case "hardbreak":
      return h("br");
    case "image":
      return Object.assign(h("a", {}, say("image", { alt: token.content })), link(token.attrGet("src")));
    default:
      return document.createTextNode(token.content);
  }
}

/** The address in full is shown on pointing at it: the text may claim another. */
function link(address) {
  if (!md.validateLink(address)) throw new Error(`markdown-it passed on the address ${address}`);
  return { href: address, title: address, target: "_blank", rel: "noopener noreferrer nofollow" };
}
