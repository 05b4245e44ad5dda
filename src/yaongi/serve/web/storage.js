// The browser's storage; where it is switched off, a stand-in that lasts as long as the page.

/** Items by name, as the browser's storage has them. */
class Memory {
  #items = new Map();
  getItem = (name) => this.#items.get(name) ?? null;
  setItem = (name, value) => void this.#items.set(name, value);
  removeItem = (name) => void this.#items.delete(name);
  key = (place) => [...this.#items.keys()][place];
  get length() {
    return this.#items.size;
  }
}

function storage(name) {
  try {
    return window[name]; // even asking throws where cookies are blocked
  } catch {
    return new Memory();
  }
}

export const local = storage("localStorage"); // conversations, language, colours
export const session = storage("sessionStorage"); // the key, and which conversation is open: this tab's
export const lasts = !(local instanceof Memory);

/** The names of all items. */
export function names() {
  return Array.from({ length: local.length }, (_, place) => local.key(place));
}
