"use strict";
// Asks for news of this payment while the page is in view, ever more seldom, and loads the page again when there is some.
(() => {
  const FIRST_MS = 1000, SLOWER = 1.15, SLOWEST_MS = 15000, ANSWER_MS = 8000, LOOKS_MAX = 6000;
  const main = document.querySelector("main");

  for (const time of document.querySelectorAll("time")) {
    time.title = time.textContent;
    time.textContent = new Date(time.dateTime).toLocaleString("en-GB", {
      day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short",
    });
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const target = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(target.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(target);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }

  if (main.dataset.watch !== "yes") return;
  const address = location.pathname.replace(/\/+$/, "") + "/state";
  const pause = (ms) => new Promise((go) => setTimeout(go, ms));
  const inView = () => new Promise((go) => {
    if (!document.hidden) { go(); return; }
    document.addEventListener("visibilitychange", () => go(), { once: true });
  });

  const watch = async () => {
    let wait = FIRST_MS;
    for (let look = 0; look < LOOKS_MAX; look += 1) {
      await pause(wait);
      await inView();
      wait = Math.min(wait * SLOWER, SLOWEST_MS);
      try {
        const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
        if (answer.status === 404) break;
        if (answer.ok && (await answer.json()).version !== main.dataset.version) { location.reload(); return; }
      } catch { /* The next look may find the service again. */ }
    }
    document.getElementById("news").textContent = "Reload this page to see whether there is news.";
  };
  watch();
})();
