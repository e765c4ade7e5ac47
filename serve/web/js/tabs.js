// Chat and stage as two tabs where the page is narrow; side by side elsewhere.
import { $ } from "./dom.js";

export function tabs() {
  const panels = [[$("tab-chat"), $("chat")], [$("tab-stage"), $("work")]];
  const select = (wanted, focus = false) => {
    for (const [tab, panel] of panels) {
      const on = panel.id === wanted;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
      if (on) delete tab.dataset.news;
      if (on && focus) tab.focus();
      panel.toggleAttribute("data-behind", !on);
    }
  };
  for (const [tab, panel] of panels) {
    tab.addEventListener("click", () => select(panel.id));
    tab.addEventListener("keydown", (event) => {
      if (["ArrowLeft", "ArrowRight"].includes(event.key)) { event.preventDefault(); select(panels.find(([other]) => other !== tab)[1].id, true); }
    });
  }
  select("chat");
  const narrow = matchMedia("(max-width: 820px)");
  return {
    select,
    news: (wanted) => { const [tab, panel] = panels.find(([, one]) => one.id === wanted); if (narrow.matches && panel.hasAttribute("data-behind")) tab.dataset.news = "yes"; },
  };
}
