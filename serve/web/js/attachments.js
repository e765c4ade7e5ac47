// Files on their way into the next message: uploaded at once, seen on the stage, asked about as `file` parts.
import { post, upload } from "./api.js";
import { $, h } from "./dom.js";
import { fault } from "./notices.js";

export class Attachments {
  #all = []; label = "a file";

  /** `seen(motion object, name)` is called for a file that holds a motion. */
  constructor(seen) {
    this.seen = seen;
    $("attach").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => { for (const file of $("file").files) this.add(file); $("file").value = ""; });
    let inside = 0;
    const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    addEventListener("dragenter", (event) => { if (files(event)) { inside++; $("drop").hidden = false; } });
    addEventListener("dragleave", (event) => { if (files(event) && --inside <= 0) $("drop").hidden = true; });
    addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
    addEventListener("drop", (event) => {
      inside = 0;
      $("drop").hidden = true;
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      for (const file of event.dataTransfer.files) this.add(file);
    });
    $("prompt").addEventListener("paste", (event) => { for (const file of event.clipboardData?.files ?? []) this.add(file); });
  }

  get busy() { return this.#all.some((one) => !one.id); }
  parts() { return this.#all.filter((one) => one.id).map((one) => ({ type: "file", file: { file_id: one.id } })); }
  names() { return this.#all.map((one) => one.file.name); }

  clear() {
    const taken = this.#all;
    if (taken.length) this.label = this.names().join(", ");
    this.#all = [];
    $("chips").replaceChildren();
    return taken;
  }

  /** Back what `clear` took, after an answer that failed. */
  restore(taken) {
    this.#all.unshift(...taken);
    $("chips").prepend(...taken.map((one) => one.chip));
  }

  async add(file) {
    const bar = h("progress", { max: 1, value: 0, "aria-label": `Sending ${file.name}` }), stop = new AbortController();
    const chip = h("li", { class: "chip" }, h("span", { title: file.name }, file.name), bar,
      h("button", { type: "button", "aria-label": `Remove ${file.name}`, onclick: () => this.#remove(one) }, "×"));
    const one = { file, chip, stop, id: null };
    this.#all.push(one);
    $("chips").append(chip);
    try {
      one.id = (await upload(file, (share) => { bar.value = share; }, stop.signal)).id;
    } catch (error) {
      this.#remove(one);
      if (error.name !== "AbortError") $("notices").replaceChildren(fault(error, () => this.add(file)));
      return;
    }
    bar.removeAttribute("value"); // being read
    await this.#read(one);
    bar.remove();
  }

  async #read(one) {
    try {
      this.seen(await (await post("motions", { file_id: one.id }, { signal: one.stop.signal })).json(), one.file.name);
    } catch (error) {
      if (error.name !== "AbortError") $("notices").replaceChildren(fault(error, () => this.#read(one)));
    }
  }

  #remove(one) {
    one.stop.abort();
    this.#all = this.#all.filter((other) => other !== one);
    one.chip.remove();
  }
}
