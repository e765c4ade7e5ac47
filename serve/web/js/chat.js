// The conversation: what was said, sent as OpenAI's messages; answers drawn while they arrive.
import { post } from "./api.js";
import { $, h, linked } from "./dom.js";
import { events } from "./events.js";
import { floats, Motion } from "./motion.js";
import { fault } from "./notices.js";
import { drawCodes } from "./timeline.js";

const LINKS = /^.*\/v1\/motions\/motion-[0-9a-f]+.*$\n?/gm; // lines of links: the card has them as downloads
const EXAMPLES = ["a woman smiles broadly, then nods twice", "a man looks astonished, then tilts his head to the left", "she talks, raises her brows and blinks"];

export class Chat {
  #history = []; #busy = null;

  /** `show(motion, slot)` puts a motion on the stage. */
  constructor(library, attachments, { show, arrived }) {
    Object.assign(this, { library, attachments, show, arrived, turns: $("turns"), prompt: $("prompt") });
    $("composer").addEventListener("submit", (event) => { event.preventDefault(); this.#busy ? this.#busy.abort() : this.send(); });
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); if (!this.#busy) this.send(); }
    });
    $("form").addEventListener("change", () => { $("seconds").disabled = $("form").value === "text"; });
    this.#empty();
  }

  #empty() {
    this.turns.replaceChildren(h("li", { class: "empty" }, h("b", {}, "Describe a motion."),
      h("span", {}, "The head performs it while the answer arrives. Then change it in words (“now make it angrier”), or drop a motion or a video and ask about it."),
      h("div", {}, ...EXAMPLES.map((text) => h("button", { type: "button", onclick: () => { this.prompt.value = text; this.prompt.focus(); } }, text)))));
  }

  #content(text) {
    const files = this.attachments.parts();
    return files.length ? [...files, ...(text ? [{ type: "text", text }] : [])] : text;
  }

  #body(messages) {
    const form = $("form").value, seconds = Number.parseFloat($("seconds").value), seed = Number.parseInt($("seed").value, 10);
    const body = { model: $("model").value, messages, stream: true, stream_options: { include_usage: true } };
    if (form) body.modalities = form === "motion" ? ["text", "motion"] : ["text"];
    if (form !== "text" && seconds > 0) body.motion = { seconds };
    if (Number.isInteger(seed)) body.seed = seed;
    return body;
  }

  async send() {
    const text = this.prompt.value.trim();
    if (this.attachments.busy) return $("notices").replaceChildren(fault(new Error("A file is still on its way; send when it has arrived.")));
    if (!text && !this.attachments.parts().length) return this.prompt.focus();
    $("notices").replaceChildren();
    this.turns.querySelectorAll(".empty, .turn.failed").forEach((item) => item.remove());
    const user = { role: "user", content: this.#content(text) };
    const bubble = h("li", { class: "turn user" }, ...this.attachments.names().map((name) => h("span", { class: "chip" }, h("span", {}, name))),
      text ? h("p", { class: "said" }, text) : null);
    const answer = h("li", { class: "turn assistant" }, h("p", { class: "said thinking" }, "…"));
    this.turns.append(bubble, answer);
    this.#down();
    const stop = (this.#busy = new AbortController());
    this.#working(true);
    let begun = false, taken = [];
    try {
      const response = await post("chat/completions", this.#body([...this.#history, user]), { signal: stop.signal });
      begun = true; // taken: only now the prompt may go
      if (this.prompt.value.trim() === text) this.prompt.value = "";
      taken = this.attachments.clear();
      const content = await this.#receive(response, answer, text || this.attachments.label);
      this.#history.push(user, { role: "assistant", content });
    } catch (error) {
      const stopped = error.name === "AbortError";
      answer.querySelector(".thinking")?.remove();
      if (begun && !this.prompt.value) this.prompt.value = text;
      this.attachments.restore(taken);
      if (stopped) answer.append(h("p", { class: "small" }, "Stopped."));
      else {
        if (!begun) bubble.remove();
        for (const turn of [bubble, answer]) turn.classList.add("failed");
        answer.append(fault(error, () => { answer.remove(); if (begun) bubble.remove(); this.send(); }));
        if (error.status === 401) $("key").focus();
      }
    } finally {
      this.#busy = null;
      this.#working(false);
      this.#down();
    }
  }

  #working(on) {
    $("send").textContent = on ? "Stop" : "Send";
    this.turns.setAttribute("aria-busy", on);
  }

  async #receive(response, answer, label) {
    const said = answer.querySelector(".said"), began = performance.now();
    let content = "", motion = null, card = null, first = null, usage = null;
    const begin = (told) => {
      motion = new Motion({ id: told.id ?? "motion-arriving", label, rig: told.rig, fps: told.fps ?? 25, channels: told.channels ?? [] });
      motion.body = told.codec === "body";
      card = this.card(motion);
      answer.append(card);
      this.library.add(motion);
      if (motion.channels.length) this.show(motion, "a");
      return motion;
    };
    try {
      for await (const event of events(response)) {
        usage = event.usage ?? usage;
        const delta = event.choices?.[0]?.delta ?? {};
        if (delta.content) {
          content += delta.content;
          const shown = content.replace(LINKS, "").trim();
          said.replaceChildren(...linked(shown));
          said.classList.remove("thinking");
        }
        if (delta.motion) {
          if (!motion) begin(delta.motion);
          if (delta.motion.data) {
            first ??= performance.now() - began;
            motion.append(floats(delta.motion.data), delta.motion.codes ?? []);
          }
          if (delta.motion.object === "motion" || delta.motion.files) {
            motion.finish(delta.motion);
            this.library.add(motion);
            if (!motion.frames) this.show(motion, "a");
          }
        }
        this.#down();
      }
    } catch (error) {
      if (motion && !motion.complete) motion.dispatchEvent(new Event("broken"));
      throw error;
    }
    if (said.classList.contains("thinking") || !said.textContent) said.remove();
    const notes = [usage && `${usage.completion_tokens} tokens`, first !== null && `first frame after ${(first / 1000).toFixed(2)} s`, `${((performance.now() - began) / 1000).toFixed(2)} s`];
    answer.append(h("p", { class: "small" }, notes.filter(Boolean).join(" · ")));
    if (motion?.complete) this.arrived(motion);
    return content || (motion ? motion.id : "");
  }

  /** A motion in the conversation: its codes as a stripe, and where to put it. */
  card(motion) {
    const codes = h("canvas", { "aria-hidden": "true" }), size = h("span", { class: "small" });
    const card = h("div", { class: "card" }, h("header", {}, h("b", { title: motion.label }, motion.label), size), codes, h("div", { class: "row" },
      h("button", { type: "button", onclick: () => this.show(motion, "a", true) }, "Play as A"),
      h("button", { type: "button", onclick: () => this.show(motion, "b", true) }, "Compare as B")));
    const draw = () => {
      const frames = motion.frames || motion.told || 0;
      size.textContent = `${(frames / motion.fps).toFixed(1)} s · ${frames} frames${motion.about?.truncated ? " · cut short" : ""}`;
      codes.hidden = !motion.codes.length;
      if (motion.codes.length && codes.isConnected) drawCodes(codes, motion.codes);
    };
    motion.addEventListener("more", () => requestAnimationFrame(draw));
    motion.addEventListener("broken", () => { size.textContent += " · broken off"; });
    new ResizeObserver(draw).observe(codes);
    card.motion = motion;
    return card;
  }

  /** Show a dropped motion in the conversation. */
  note(motion) {
    this.turns.querySelector(".empty")?.remove();
    this.turns.append(h("li", { class: "turn" }, this.card(motion)));
    this.#down();
  }

  mark(slots) {
    for (const card of this.turns.querySelectorAll(".card")) card.dataset.slot = card.motion === slots.a ? "a" : card.motion === slots.b ? "b" : "";
  }

  #down() { this.turns.scrollTop = this.turns.scrollHeight; }
}
