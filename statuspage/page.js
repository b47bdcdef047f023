"use strict";
(() => {
  // The server says everything; this only puts its words in place.
  const main = (page) => page.querySelector("main#evertoken");
  const ids = (page) => [...main(page).children].map((section) => section.id);

  // Text that somebody is about to copy stays where it is, and so does a link under
  // a button that is down.
  const busy = () => {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed || document.querySelector("a:active") !== null;
  };

  // Whoever goes from link to link by keys does not lose the place.
  const replace = (old, now) => {
    const focus = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
    old.innerHTML = now.innerHTML;
    if (focus) old.querySelector(`a[href="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  };

  const show = (page) => {
    document.title = page.title;
    main(document).className = main(page).className;
    if (ids(page).join() !== ids(document).join()) {
      replace(main(document), main(page));
      return;
    }
    for (const id of ids(page)) {
      const old = document.getElementById(id), now = page.getElementById(id);
      if (now.innerHTML !== old.innerHTML) replace(old, now);
    }
  };

  const update = async () => {
    const answer = await fetch(location.href, {
      headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(5000),
    });
    if (!answer.ok && answer.status !== 404) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (main(page) === null) throw new Error("not the status page");
    if (!busy()) show(page);
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
