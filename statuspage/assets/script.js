// Keeps the page up to date: fetches it again and replaces the parts that changed. Everything works without it.
"use strict";
const every = 3000;
const button = document.getElementById("pause");
let tag = "";
let paused = false;

async function update() {
  if (paused || document.hidden) return;
  let answer;
  try {
    answer = await fetch(location.href, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
  } catch {
    document.getElementById("asof").textContent = "No connection";
    return;
  }
  if (answer.status === 401) return location.assign("/login");
  if (answer.status === 304 || !answer.ok) return;
  tag = answer.headers.get("ETag") || "";
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (paused) return;
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (!now || now.outerHTML === old.outerHTML) continue;
    const focus = document.activeElement;
    const href = old.contains(focus) && focus.getAttribute("href");
    const place = old.querySelector(".scroll")?.scrollLeft;
    old.replaceWith(document.adoptNode(now));
    if (place) now.querySelector(".scroll")?.scrollTo(place, 0);
    if (href) (document.getElementById(focus.id) || now.querySelector(`a[href="${CSS.escape(href)}"]`))?.focus({ preventScroll: true });
  }
}

if (button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    if (!paused) update();
  });
  setInterval(update, every);
  document.addEventListener("visibilitychange", update);
}
