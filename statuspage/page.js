"use strict";
(() => {
  // The server says everything; this only puts its words in place.
  const sections = () => document.querySelectorAll("main > [id]");

  // Text that somebody is about to copy stays where it is.
  const selecting = () => {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed;
  };

  const show = (page) => {
    const main = page.querySelector("main");
    if (main === null) throw new Error("not the status page");
    document.title = page.title;
    const shown = document.querySelector("main");
    shown.className = main.className;
    const parts = (of) => [...of.children].map((part) => part.id).join();
    if (parts(shown) !== parts(main)) shown.innerHTML = main.innerHTML;
    for (const old of sections()) {
      const now = page.getElementById(old.id);
      if (now !== null && now.innerHTML !== old.innerHTML) old.innerHTML = now.innerHTML;
    }
  };

  const update = async () => {
    const answer = await fetch(location.href, {
      headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(5000),
    });
    if (!answer.ok && answer.status !== 404) throw new Error(answer.statusText); // a session may have left memory
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!selecting()) show(page);
  };

  const keep = async () => {
    const stale = document.getElementById("stale");
    if (!document.hidden) {
      try {
        await update();
        stale.hidden = true;
      } catch {
        stale.hidden = false;
      }
    }
    setTimeout(keep, 1000);
  };
  setTimeout(keep, 1000);
})();
