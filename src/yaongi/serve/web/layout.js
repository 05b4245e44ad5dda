// What moves: the list that slides in on a phone, the page that follows a growing answer, and Esc.

const NEAR_PX = 80; // this close to the end counts as reading the end

/** Wire the page. `stop()` is asked for by Esc where nothing else is open. */
export function layout({ stop }) {
  const main = document.querySelector("main");
  const sidebar = document.getElementById("sidebar");
  const menu = document.getElementById("menu");
  const latest = document.getElementById("latest");
  const rest = [document.getElementById("page"), document.querySelector(".skip")];
  const narrow = matchMedia("(max-width: 48rem)");
  let following = true;

  function setMenu(open) {
    if (open === sidebar.classList.contains("open")) return;
    sidebar.classList.toggle("open", open);
    menu.setAttribute("aria-expanded", String(open));
    for (const element of rest) element.inert = open;
    (open ? document.getElementById("close-menu") : menu).focus();
  }

  function toEnd() {
    following = true;
    main.scrollTop = main.scrollHeight;
  }

  function onScroll() {
    following = main.scrollHeight - main.scrollTop - main.clientHeight < NEAR_PX;
    latest.hidden = following;
  }

  function onKey(event) {
    if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
    if (sidebar.classList.contains("open")) setMenu(false);
    else stop();
  }

  menu.addEventListener("click", () => setMenu(true));
  document.getElementById("close-menu").addEventListener("click", () => setMenu(false));
  document.getElementById("shade").addEventListener("click", () => setMenu(false));
  narrow.addEventListener("change", () => setMenu(false));
  main.addEventListener("scroll", onScroll, { passive: true });
  latest.addEventListener("click", toEnd);
  document.addEventListener("keydown", onKey);

  return {
    toEnd,
    /** Stay at the end, unless the person has scrolled away from it. */
    follow: () => (following ? toEnd() : onScroll()),
    closeMenu: () => setMenu(false),
  };
}
