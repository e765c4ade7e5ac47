// The one playhead: a time in seconds that mesh, curves and tokens share.

export class Playhead extends EventTarget {
  seconds = 0; last = 0; fps = 25; playing = false; speed = 1; loop = true; waiting = false;
  #before = 0;

  get frame() { return Math.round(this.seconds * this.fps); }
  get frames() { return Math.round(this.last * this.fps) + 1; }

  /** The end, the rate of a step, and whether more is still arriving (then the end is waited at). */
  span(last, fps, waiting) {
    Object.assign(this, { last, fps, waiting });
    if (this.seconds > last) this.seconds = last;
    this.#tell();
  }

  seek(seconds) {
    this.seconds = Math.min(Math.max(seconds, 0), this.last);
    this.#tell();
  }

  step(frames) {
    this.pause();
    this.seek((this.frame + frames) / this.fps);
  }

  play() {
    if (this.playing) return;
    if (!this.waiting && this.seconds >= this.last) this.seconds = 0;
    this.playing = true;
    this.#before = performance.now();
    requestAnimationFrame(this.#tick);
    this.#tell();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.seconds = Math.min(this.frame / this.fps, this.last); // rests on a frame
    this.#tell();
  }

  #tick = (now) => {
    if (!this.playing) return;
    const passed = Math.min(Math.max(now - this.#before, 0), 250) / 1000;
    this.#before = now;
    let next = this.seconds + passed * this.speed;
    if (next >= this.last + (this.waiting ? 0 : 1 / this.fps)) {
      if (this.waiting) next = this.last;
      else if (this.loop) next = 0;
      else { this.seconds = this.last; this.pause(); return; }
    }
    const moved = next !== this.seconds;
    this.seconds = next;
    if (moved) this.#tell();
    requestAnimationFrame(this.#tick);
  };

  #tell() { this.dispatchEvent(new Event("change")); }
}
