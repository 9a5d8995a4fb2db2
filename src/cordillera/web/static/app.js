// What the pages do beyond links and forms. Everything works without it, but for the type-ahead.
"use strict";

function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Browsers offer the clipboard to secure origins only; a lake on a company's network may be plain HTTP.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "sr-only";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  return Promise.resolve();
}

function prepareCopyButtons() {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const label = button.querySelector("[data-copied]");
      await copyText(document.getElementById(button.dataset.copy).textContent);
      label.textContent = "Copied";
      setTimeout(() => { label.textContent = "Copy"; }, 1500);
    });
  }
}

function prepareSuggestions() {
  const form = document.querySelector("form.search");
  if (!form) return;
  const input = form.querySelector("input");
  const box = document.getElementById("suggestions");
  const clear = () => box.replaceChildren();

  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && box.hasChildNodes()) {
      event.preventDefault();  // or the browser would empty the field as well
      clear();
      input.focus();
      return;
    }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const stops = [input, ...box.querySelectorAll("a")];
    const step = event.key === "ArrowDown" ? 1 : -1;
    const next = stops[stops.indexOf(document.activeElement) + step];
    if (next) { event.preventDefault(); next.focus(); }
  });
  document.addEventListener("click", (event) => { if (!form.contains(event.target)) clear(); });
  form.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !form.contains(event.relatedTarget)) clear();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); input.focus(); }
  });
  // htmx listens from its own timer on, which was set before this one: what was typed until then it has not heard.
  setTimeout(() => {
    if (input.value !== input.defaultValue) input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  // A session that has ended answers with the login page, which is no list of suggestions.
  document.addEventListener("htmx:before:response", (event) => {
    if (event.detail.ctx.response.raw.redirected) { event.preventDefault(); location.reload(); }
  });
}

function centreGraph() {
  const box = document.querySelector(".graph-box");
  const focus = box && box.querySelector(".node--focus rect");
  if (!focus) return;
  const middle = Number(focus.getAttribute("x")) + Number(focus.getAttribute("width")) / 2;
  box.scrollLeft = middle - box.clientWidth / 2;
}

function revealCurrentTab() {
  for (const here of document.querySelectorAll(".tabs [aria-current], .sections [aria-current]")) {
    const bar = here.parentElement;
    bar.scrollLeft = here.offsetLeft - (bar.clientWidth - here.offsetWidth) / 2;
  }
}

document.addEventListener("DOMContentLoaded", () => {
  prepareCopyButtons();
  prepareSuggestions();
  centreGraph();
  revealCurrentTab();
});
