// A motion in the page: rows of channels at a rate, and its codes; it may still be arriving.

/** Pose channels under one spelling (`head_x`), however a server writes them (`head.0`, `eyes.3`). */
export function spelled(name) {
  const eyes = /^eyes[._]([0-5])$/.exec(name);
  if (eyes) return `${eyes[1] < 3 ? "left" : "right"}_eye_${"xyz"[eyes[1] % 3]}`;
  return name.replace(/^(head|neck|jaw|left_eye|right_eye|translation)[._]([012xyz])$/, (_, part, axis) => `${part}_${"xyz"[axis] ?? axis}`);
}

/** What a channel drives: {joint, axis} of a turn or of the translation, or null where it is an expression. */
export function pose(name) {
  const match = /^(head|neck|jaw|left_eye|right_eye|translation)_([xyz])$/.exec(name);
  return match && { joint: match[1] === "head" ? "root" : match[1], axis: "xyz".indexOf(match[2]) };
}

export function floats(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  return new Float32Array(bytes.buffer);
}

export class Motion extends EventTarget {
  constructor({ id, label, rig = "", fps = 25, channels = [] }) {
    super();
    Object.assign(this, { id, label, rig, fps, channels: channels.map(spelled), about: null, complete: false, frames: 0, codes: [], body: false });
    this.data = new Float32Array(0);
  }

  get seconds() { return this.frames / this.fps; }
  get last() { return Math.max(0, this.frames - 1) / this.fps; }

  append(rows, codes = []) {
    const width = this.channels.length, count = rows.length / width;
    if (!Number.isInteger(count)) throw new Error(`motion ${this.id}: expected rows of ${width} channels, got ${rows.length} numbers.`);
    const needed = (this.frames + count) * width;
    if (needed > this.data.length) {
      const larger = new Float32Array(Math.max(needed, 2 * this.data.length));
      larger.set(this.data.subarray(0, this.frames * width));
      this.data = larger;
    }
    this.data.set(rows, this.frames * width);
    this.frames += count;
    for (const code of codes) this.codes.push(code);
    this.dispatchEvent(new Event("more"));
  }

  /** The server's motion object: everything has arrived. */
  finish(about) {
    Object.assign(this, { about, complete: true, id: about.id, rig: about.rig ?? this.rig });
    if (about.codes) this.codes = about.codes;
    this.dispatchEvent(new Event("more"));
  }

  /** The row at a time, between frames linearly; `out` is filled. */
  at(seconds, out) {
    const width = this.channels.length, where = Math.min(Math.max(seconds * this.fps, 0), Math.max(0, this.frames - 1));
    const left = Math.floor(where + 1e-4), share = Math.max(0, where - left), right = Math.min(left + 1, this.frames - 1);
    for (let k = 0; k < width; k++) {
      const from = this.data[left * width + k];
      out[k] = share < 1e-4 ? from : from + share * (this.data[right * width + k] - from);
    }
    return out;
  }

  /** The expressions that move most, by name: [[name] or [left, right], ...]. */
  busiest(count) {
    const width = this.channels.length, spans = new Map();
    this.channels.forEach((name, k) => {
      if (pose(name)) return;
      let low = Infinity, high = -Infinity;
      for (let f = 0; f < this.frames; f++) {
        const value = this.data[f * width + k];
        if (value < low) low = value;
        if (value > high) high = value;
      }
      const pair = name.replace(/(Left|Right)$/, ""), known = spans.get(pair) ?? { span: 0, names: [] };
      spans.set(pair, { span: Math.max(known.span, high - low), names: [...known.names, name] });
    });
    return [...spans.values()].sort((p, q) => q.span - p.span).slice(0, count).filter(({ span }) => span > 1e-3).map(({ names }) => names);
  }

  curve(name) {
    const k = this.channels.indexOf(name), width = this.channels.length;
    return k < 0 ? null : Float32Array.from({ length: this.frames }, (_, f) => this.data[f * width + k]);
  }
}
