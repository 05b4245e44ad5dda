// The field one writes in: Enter sends, Shift+Enter breaks the line, and the button sends or stops.
import { say } from "./i18n.js";
import { tell } from "./notice.js";

/** Wire the form. `send(text)` gets what was written, `stop()` is asked for while an answer runs. */
export function composer({ send, stop }) {
  const form = document.getElementById("composer");
  const { prompt } = form.elements;
  const sendButton = form.querySelector(".send");
  const stopButton = form.querySelector(".stop");
  let isRunning = false;

  function submit(event) {
    event?.preventDefault();
    const text = prompt.value.trim();
    if (!text) return;
    if (isRunning) return tell(say("stillAnswering")); // the text stays, to be sent then
    prompt.value = "";
    fit();
    send(text);
  }

  function onKey(event) {
    // Enter that ends a syllable of an input method is not meant for us; Safari reports it after
    // the composition, with key code 229 only.
    const composing = event.isComposing || event.keyCode === 229;
    if (event.key === "Enter" && !event.shiftKey && !composing) submit(event);
  }

  function fit() {
    prompt.style.height = "auto";
    prompt.style.height = `${prompt.scrollHeight}px`; // style.css says how high at most
    sendButton.disabled = !prompt.value.trim();
  }

  form.addEventListener("submit", submit);
  prompt.addEventListener("keydown", onKey);
  prompt.addEventListener("input", fit);
  stopButton.addEventListener("click", stop);
  fit();

  return {
    focus: () => prompt.focus(),
    /** Put a text there, to be sent or changed. */
    fill(text) {
      prompt.value = text;
      fit();
      prompt.focus();
    },
    /** Show which of the two the button does. */
    running(now) {
      if (now === isRunning) return;
      const held = form.contains(document.activeElement);
      isRunning = now;
      sendButton.hidden = now;
      stopButton.hidden = !now;
      if (held) prompt.focus(); // the button that had the focus is gone
    },
  };
}
