// The timeline: curves of the channels that move most, the head's turns, the difference of A and B, a colour a code.
// One time axis for all of them; a click or a drag seeks.
import { $, css, fitted, h } from "./dom.js";

const MOST_CURVES = 6;
const SERIES = { light: ["#0b6580", "#8a3ea8", "#2f7d32", "#b0481a", "#3a55b4", "#96690a"], dark: ["#63c4de", "#cf9be6", "#86cf8a", "#f0a061", "#9db1f5", "#e2c05c"] };
const TURNS = ["head_x", "head_y", "head_z"], TURN_WORDS = ["nod", "turn", "tilt"], TURN_INKS = ["#d0463b", "#3f9b4b", "#4a7fd6"];

/** A colour a code: neighbours in number are far apart in hue. */
export const colour = (code) => `hsl(${((code * 137.508) % 360).toFixed(1)} ${48 + (code % 3) * 9}% ${46 + (code % 5) * 5}%)`;

export function drawCodes(canvas, codes) {
  const { context, width, height } = fitted(canvas);
  stripe(context, codes, 0, 0, width, height);
}

function stripe(context, codes, left, top, width, height) {
  const each = width / Math.max(1, codes.length);
  codes.forEach((code, f) => {
    const books = Array.isArray(code) ? code : [code], tall = height / books.length;
    books.forEach((one, book) => {
      context.fillStyle = colour(one);
      const from = each > 4 ? Math.round(f * each) : f * each, to = each > 4 ? Math.round((f + 1) * each) - 1 : (f + 1) * each;
      context.fillRect(left + from, top + book * tall, Math.max(to - from, 0.75), tall);
    });
  });
}

const shown = (value) => value.toFixed(2).replace(/^-0\.00$/, "0.00");

export class Timeline {
  #rows = []; #asked = false; #motions = { a: null, b: null }; #kept = [];

  /** `difference(times)` gives mean millimetres between A and B, or null. */
  constructor(playhead, difference) {
    Object.assign(this, { playhead, difference, plot: $("plot"), canvas: $("curves"), cursor: $("cursor"), tip: $("tip"), box: $("timeline") });
    playhead.addEventListener("change", () => this.#move());
    new ResizeObserver(() => this.ask()).observe(this.plot);
    this.plot.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.plot.setPointerCapture(event.pointerId);
      playhead.pause();
      this.#seek(event);
    });
    this.plot.addEventListener("pointermove", (event) => {
      if (this.plot.hasPointerCapture(event.pointerId)) this.#seek(event);
      this.#hover(event);
    });
    this.plot.addEventListener("pointerleave", () => { this.tip.hidden = true; });
  }

  set(a, b) {
    if (a !== this.#motions.a) this.#kept = [];
    this.#motions = { a, b };
    this.ask();
  }

  get seconds() { return Math.max(this.#motions.a?.seconds ?? 0, this.#motions.b?.seconds ?? 0); }
  #half() { return 0.5 / (this.#motions.a ?? this.#motions.b ?? { fps: 25 }).fps; }

  ask() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => { this.#asked = false; this.#draw(); });
  }

  #chosen() {
    const { a, b } = this.#motions, lead = a ?? b;
    if (!lead?.frames) return [];
    const busy = lead.busiest(this.box.clientWidth < 700 ? 4 : MOST_CURVES);
    if (lead.complete) this.#kept = busy;
    else { // what arrives may change their order; rows stay where they are while they are among the busiest
      const among = (all, one) => all.some(([name]) => name === one[0]);
      this.#kept = [...this.#kept.filter((one) => among(busy, one)), ...busy.filter((one) => !among(this.#kept, one))];
    }
    const rows = this.#kept.map((names) => ({ kind: "curve", names, label: names.length > 1 ? names[0].replace(/(Left|Right)$/, "") : names[0], height: 21 }));
    if (TURNS.some((name) => lead.channels.includes(name))) rows.push({ kind: "head", label: "head, degrees", height: 40 });
    if (a && b) rows.push({ kind: "difference", label: "A − B, mm mean", height: 30 });
    for (const [slot, motion] of [["a", a], ["b", b]]) if (motion?.codes.length) rows.push({ kind: "codes", slot, label: `codes ${slot.toUpperCase()}`, height: 17 });
    return rows;
  }

  #draw() {
    const rows = [{ kind: "axis", label: "seconds", height: 18 }, ...this.#chosen()];
    this.#rows = rows;
    let top = 0;
    for (const row of rows) { row.top = top; top += row.height; }
    this.plot.style.height = `${top}px`;
    $("rows").replaceChildren(...rows.map((row) => {
      row.value = h("i");
      const name = h("span", { title: row.names?.join(", ") ?? row.label });
      if (row.kind !== "head") name.append(row.label);
      else name.append(...TURN_WORDS.flatMap((word, axis) => { const one = h("em", {}, word); one.style.color = TURN_INKS[axis]; return [one, axis < 2 ? " " : " °"]; }));
      const line = h("div", {}, name, row.value);
      line.style.height = `${row.height}px`;
      return line;
    }));
    const { context, width } = fitted(this.canvas), series = SERIES[document.documentElement.dataset.theme] ?? SERIES.light;
    const x = (seconds) => (this.seconds ? ((seconds + this.#half()) / this.seconds) * width : 0);
    const { a, b } = this.#motions, quiet = css("--quiet"), line = css("--line");
    context.font = "10.5px system-ui, 'DejaVu Sans', sans-serif";
    context.lineWidth = 1;
    const step = this.seconds ? [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120].find((one) => (one / this.seconds) * width > 46) ?? 300 : 0;
    for (let k = 0; step && k * step < this.seconds; k++) {
      const at = Math.round(x(k * step)) + 0.5;
      context.strokeStyle = line;
      context.beginPath(); context.moveTo(at, 14); context.lineTo(at, top); context.stroke();
      context.fillStyle = quiet;
      if (at < width - 20) context.fillText(`${+(k * step).toFixed(1)}`, at + 3, 11);
    }
    rows.forEach((row, k) => {
      if (row.kind === "codes") {
        const motion = this.#motions[row.slot];
        stripe(context, motion.codes, 0, row.top + 2, (motion.seconds / this.seconds) * width, row.height - 4);
      } else if (row.kind === "curve") {
        row.curves = [a, b].filter(Boolean).flatMap((motion) => row.names.map((name, side) => ({ motion, name, values: motion.curve(name), ink: series[(k - 1) % series.length], dashed: motion === b && Boolean(a), faint: side > 0 })))
          .filter((curve) => curve.values);
      } else if (row.kind === "head") {
        row.curves = [a, b].filter(Boolean).flatMap((motion) => TURNS.map((name, axis) => ({ motion, values: motion.curve(name)?.map((r) => (r * 180) / Math.PI), ink: TURN_INKS[axis], dashed: motion === b && Boolean(a) })))
          .filter((curve) => curve.values);
        const most = Math.max(5, ...row.curves.map(({ values }) => values.reduce((high, v) => Math.max(high, Math.abs(v)), 0)));
        this.#curves(context, row, x, -most, most);
      } else if (row.kind === "difference") {
        const finished = a.complete && b.complete, frames = Math.ceil(this.seconds * a.fps);
        const values = finished && frames < 3000 ? this.#compared(a, b, frames) : null;
        row.curves = values ? [{ motion: { fps: a.fps }, values, ink: css("--b"), filled: true }] : [];
        if (values) this.#curves(context, row, x, 0, Math.max(0.1, ...values));
      }
    });
    const curves = rows.filter((row) => row.kind === "curve"), peak = (row) => Math.max(...row.curves.map(({ values }) => values.reduce((high, v) => Math.max(high, v), 0)));
    const dip = (row) => Math.min(...row.curves.map(({ values }) => values.reduce((low, v) => Math.min(low, v), 0)));
    const high = Math.max(0.2, ...curves.map(peak)), low = Math.min(0, ...curves.map(dip)); // one scale, so that rows compare
    for (const row of curves) this.#curves(context, row, x, low, high);
    this.#move();
  }

  #compared(a, b, frames) {
    const known = this.differences;
    if (known?.a !== a || known?.b !== b) this.differences = { a, b, values: this.difference(Array.from({ length: frames }, (_, f) => f / a.fps)) };
    const { values } = this.differences;
    if (!values) this.differences = null; // the figures are not there yet
    return values;
  }

  #curves(context, row, x, low, high) {
    const y = (value) => row.top + row.height - 2 - ((Math.min(Math.max(value, low), high) - low) / (high - low)) * (row.height - 4);
    context.strokeStyle = css("--line");
    context.beginPath(); context.moveTo(0, y(0) + 0.5); context.lineTo(x(this.seconds), y(0) + 0.5); context.stroke();
    for (const { motion, values, ink, dashed, filled, faint } of row.curves.toReversed()) {
      context.globalAlpha = faint ? 0.45 : 1;
      context.strokeStyle = context.fillStyle = ink;
      context.lineWidth = dashed ? 1.2 : 1.5;
      context.setLineDash(dashed ? [3, 3] : []);
      context.beginPath();
      values.forEach((value, f) => context.lineTo(x(f / motion.fps), y(value)));
      context.stroke();
      if (filled && values.length) {
        context.lineTo(x((values.length - 1) / motion.fps), y(0)); context.lineTo(x(0), y(0));
        context.globalAlpha = 0.2; context.fill(); context.globalAlpha = 1;
      }
      context.globalAlpha = 1;
      context.setLineDash([]);
      context.lineWidth = 1;
    }
  }

  #move() {
    const { playhead } = this, width = this.plot.clientWidth, seconds = Math.min(playhead.seconds, playhead.last);
    this.cursor.hidden = !this.seconds;
    if (this.seconds) this.cursor.style.transform = `translateX(${(((seconds + this.#half()) / this.seconds) * width).toFixed(1)}px)`;
    for (const row of this.#rows) {
      const lead = row.curves?.[0];
      if (lead && row.kind !== "head") row.value.textContent = shown(lead.values[Math.min(Math.round(seconds * lead.motion.fps), lead.values.length - 1)] ?? 0);
      else if (lead) row.value.textContent = row.curves.slice(0, 3).map(({ values, motion }) => Math.round(values[Math.min(Math.round(seconds * motion.fps), values.length - 1)] ?? 0) || 0).join(" ");
      else if (row.kind === "codes") row.value.textContent = [this.#code(row.slot, seconds)].flat().join(" ");
    }
    this.box.setAttribute("aria-valuemax", playhead.last.toFixed(2));
    this.box.setAttribute("aria-valuenow", seconds.toFixed(2));
    this.box.setAttribute("aria-valuetext", `${seconds.toFixed(2)} seconds, frame ${playhead.frame}`);
  }

  #code(slot, seconds) {
    const motion = this.#motions[slot];
    if (!motion?.codes.length) return "";
    return motion.codes[Math.min(Math.floor((seconds / motion.seconds) * motion.codes.length + 1e-3), motion.codes.length - 1)];
  }

  #at(event) {
    const box = this.plot.getBoundingClientRect();
    return ((event.clientX - box.left) / box.width) * this.seconds;
  }

  #seek(event) {
    const { playhead } = this;
    playhead.seek(Math.min(Math.floor(this.#at(event) * playhead.fps), playhead.frames - 1) / playhead.fps);
  }

  #hover(event) {
    const box = this.plot.getBoundingClientRect(), seconds = this.#at(event), row = this.#rows.find((one) => event.clientY - box.top < one.top + one.height);
    this.tip.hidden = !row || !this.seconds || seconds < 0;
    if (this.tip.hidden) return;
    const frame = Math.floor(seconds * this.playhead.fps), parts = [`${(frame / this.playhead.fps).toFixed(2)} s`, `frame ${frame}`];
    if (row.kind === "codes") parts.push(`code ${[this.#code(row.slot, seconds)].flat().join(" ")}`);
    else for (const [k, { values, motion }] of (row.curves ?? []).entries()) {
      const value = values[Math.min(Math.floor(seconds * motion.fps), values.length - 1)];
      if (value !== undefined) parts.push(row.kind === "head" ? `${TURN_WORDS[k % 3]} ${value.toFixed(1)}°` : `${motion === this.#motions.b ? "B " : ""}${/(Left|Right)$/.exec(row.curves[k].name ?? "")?.[0].toLowerCase() ?? ""} ${value.toFixed(2)}`.trim());
    }
    this.tip.textContent = parts.join(" · ");
    this.tip.style.left = `${Math.min(Math.max(event.clientX - box.left - 40, 0), Math.max(0, box.width - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${row.top}px`;
  }
}
