// Keyboard shortcuts: one table that is both obeyed and shown under "?".
import { $, h } from "./dom.js";

/** `table`: [keys, words, action]; keys as KeyboardEvent.key, with "Shift+" before. Never while typing. */
export function keys(table) {
  $("keys-list").replaceChildren(...table.flatMap(([names, words]) => [
    h("dt", {}, ...names.flatMap((name, k) => [k ? " " : "", h("kbd", {}, { " ": "space", ArrowLeft: "←", ArrowRight: "→", "Shift+ArrowLeft": "shift ←", "Shift+ArrowRight": "shift →" }[name] ?? name)])),
    h("dd", {}, words)]),
    h("dt", {}, h("kbd", {}, "← → ↑ ↓"), " ", h("kbd", {}, "+ −")), h("dd", {}, "orbit and zoom, when the stage has the focus"),
    h("dt", {}, h("kbd", {}, "enter"), " ", h("kbd", {}, "shift enter")), h("dd", {}, "send; a new line"));
  const actions = new Map(table.flatMap(([names, , action]) => names.map((name, k) => [name, () => action(k)])));
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const at = event.target, button = at.closest?.("button, a, summary, [role=tab]");
    if (at.matches?.("input:not([type=range]), textarea, select") || (button && [" ", "Enter"].includes(event.key))) return;
    if (at.id === "scrub" && /^(Arrow|Home|End|Page)/.test(event.key)) return;
    if (at.id === "turns" && /^(Arrow|Home|End|Page)/.test(event.key)) return;
    const action = actions.get((event.shiftKey && event.key.startsWith("Arrow") ? "Shift+" : "") + event.key);
    if (action) { event.preventDefault(); action(); }
  });
}
