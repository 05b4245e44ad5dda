// Sets light or dark before the page is drawn: a module would run after the first paint and flash.
// localStorage throws where the browser keeps nothing; the system's choice holds then.
try {
  document.documentElement.dataset.theme = localStorage.getItem("yaongi.theme") || "auto";
} catch {
  document.documentElement.dataset.theme = "auto";
}
