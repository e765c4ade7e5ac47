// The download menu: every format of the motion in A, with progress and errors in words.
import { bytes } from "./api.js";
import { $, h } from "./dom.js";
import { words } from "./words.js";

const SAYS = { npz: "all numbers", glb: "mesh and animation", csv: "ARKit, Live Link Face", bvh: "skeleton", mp4: "video" };
const SIZES = (count) => (count > 1e6 ? `${(count / 1e6).toFixed(1)} MB` : `${Math.ceil(count / 1e3)} kB`);

export function downloads(current) {
  const menu = $("files"), button = $("downloads");
  const close = () => { menu.hidden = true; button.setAttribute("aria-expanded", "false"); };
  const open = () => {
    const motion = current();
    menu.replaceChildren(...(motion?.about?.files?.length ? motion.about.files.map((file) => line(motion, file)) : [h("p", {}, motion ? "The motion is still arriving." : "No motion in A yet.")]));
    menu.hidden = false;
    button.setAttribute("aria-expanded", "true");
    menu.querySelector("button")?.focus();
  };
  button.addEventListener("click", () => (menu.hidden ? open() : close()));
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { close(); button.focus(); event.stopPropagation(); }
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const lines = [...menu.querySelectorAll("button")];
    lines[(lines.indexOf(document.activeElement) + move + lines.length) % lines.length]?.focus();
  });
  addEventListener("pointerdown", (event) => { if (!event.target.closest(".menu")) close(); });
}

function line(motion, file) {
  const state = h("span", { role: "status" }, file.bytes ? SIZES(file.bytes) : "");
  const button = h("button", { type: "button", "data-format": file.format }, h("b", {}, file.format), h("span", {}, SAYS[file.format] ?? ""), state);
  button.addEventListener("click", async () => {
    if (button.dataset.busy) return;
    button.dataset.busy = "yes";
    state.textContent = "making…";
    button.nextElementSibling?.matches(".fault") && button.nextElementSibling.remove();
    try {
      const blob = await bytes(file.url, (share) => { state.textContent = share === null ? "…" : `${Math.round(100 * share)} %`; });
      const address = URL.createObjectURL(blob);
      h("a", { href: address, download: `${motion.id}.${file.format}` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60000);
      state.textContent = SIZES(blob.size);
    } catch (error) {
      const { title, text, wait } = words(error);
      state.textContent = "failed";
      button.after(h("p", { class: "fault", role: "alert" }, h("b", {}, title), h("span", {}, text + (wait ? ` Try again in ${Math.ceil(wait)} s.` : ""))));
    } finally { delete button.dataset.busy; }
  });
  return button;
}
