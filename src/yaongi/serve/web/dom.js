// Builds elements. Text only ever becomes a text node, so nothing a model says is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `on…` functions listen, `true` is an empty attribute, `false` and `null` are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

/** One of the drawings at the top of index.html. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** A button with a drawing, named for those who cannot see it. */
export function iconButton(name, label, onclick, attributes = {}) {
  const named = { type: "button", class: "icon", "aria-label": label, title: label };
  return h("button", { ...named, onclick, ...attributes }, icon(name));
}

/** Copy text. Without https (a server in the home network) browsers have only the old way. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { class: "unseen", readonly: true });
  const focused = document.activeElement;
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!copied) throw new Error("The browser does not let this page copy.");
}
