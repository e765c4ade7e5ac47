// Cards that say what went wrong, with a button to try again and a countdown where waiting helps.
import { h } from "./dom.js";
import { words } from "./words.js";

/** A card for an error; `again` is offered at once, or after the wait that the server asked for. */
export function fault(error, again = null, onclose = null) {
  const { title, text, wait } = words(error), row = h("div", { class: "row" });
  const card = h("div", { class: "fault", role: "alert" }, h("b", {}, title), h("span", {}, text), row);
  if (again) {
    const retry = h("button", { type: "button", onclick: () => { card.remove(); again(); } }, "Try again");
    row.append(retry);
    if (wait) {
      const until = Date.now() + 1000 * wait;
      const tick = () => {
        const left = Math.ceil((until - Date.now()) / 1000);
        retry.disabled = left > 0;
        retry.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
        if (left > 0 && (card.isConnected || left === Math.ceil(wait))) setTimeout(tick, 250);
      };
      tick();
    }
  }
  row.append(h("button", { type: "button", onclick: () => { card.remove(); onclose?.(); } }, "Dismiss"));
  return card;
}
