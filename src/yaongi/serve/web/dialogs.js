// Questions to the person, in the page's one <dialog id="ask">: it holds the focus, Esc is "no".
import { say } from "./i18n.js";

/** A text, or null when the person would rather not. */
export function askText(label, value) {
  return ask({ label, value, yes: say("save") });
}

/** Whether to go on with what cannot be undone. */
export async function askSure(question, about, yes) {
  return (await ask({ question, about, yes })) !== null;
}

function ask({ label = "", value = null, question = "", about = "", yes }) {
  const dialog = document.getElementById("ask");
  const [form] = dialog.children;
  const input = form.elements.text;
  const wantsText = value !== null;
  form.querySelector("label").hidden = !wantsText;
  form.querySelector("label span").textContent = label;
  form.querySelector(".question").textContent = question;
  form.querySelector(".about").textContent = about;
  dialog.setAttribute("aria-label", question || label);
  form.elements.yes.textContent = yes;
  form.elements.yes.classList.toggle("danger", !wantsText);
  input.value = value ?? "";
  dialog.returnValue = "";
  form.elements.no.onclick = () => dialog.close();
  dialog.showModal();
  if (wantsText) input.select();
  else form.elements.no.focus();
  return new Promise((resolve) => {
    const answer = () => resolve(dialog.returnValue === "yes" ? input.value : null);
    dialog.addEventListener("close", answer, { once: true });
  });
}
