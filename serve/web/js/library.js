// The motions that the page knows: made here, dropped here, or kept on the server from before.
import { json } from "./api.js";
import { floats, Motion, spelled } from "./motion.js";

export class Library extends EventTarget {
  #motions = [];

  get all() { return this.#motions; }

  add(motion) {
    if (!this.#motions.includes(motion)) this.#motions.unshift(motion);
    this.dispatchEvent(new Event("change"));
    return motion;
  }

  remove(motion) {
    this.#motions = this.#motions.filter((one) => one !== motion);
    this.dispatchEvent(new Event("change"));
  }

  find(id) { return this.#motions.find((motion) => motion.id === id) ?? null; }

  /** A motion of the server's, by its object; its rows are read when it is looked at. */
  known(about, label) {
    return this.find(about.id) ?? this.add(Object.assign(new Motion({
      id: about.id, label, rig: about.rig, fps: about.fps,
    }), { about, codes: about.codes ?? [], complete: true, body: about.codec === "body", told: about.frames }));
  }

  /** Rows of the motion, where they have not been streamed. */
  async load(motion) {
    if (motion.frames || !motion.complete) return motion;
    motion.loading ??= json(`motions/${motion.id}/frames`).then((told) => {
      Object.assign(motion, { fps: told.fps, rig: told.rig ?? motion.rig, channels: told.channels.map(spelled) });
      motion.append(floats(told.data));
    }).finally(() => { motion.loading = null; });
    await motion.loading;
    return motion;
  }

  /** Those that the server kept; silently none where it does not list them. */
  async before() {
    const listed = await json("motions?limit=20").catch(() => ({ data: [] }));
    for (const about of [...(listed.data ?? [])].reverse()) this.known(about, `kept ${about.id.slice(7, 13)} · ${Number(about.seconds ?? 0).toFixed(1)} s`);
  }
}
