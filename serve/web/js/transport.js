// The buttons under the stage, the scrubber and the clock.
import { $ } from "./dom.js";

export function transport(playhead) {
  const play = $("play"), scrub = $("scrub"), speed = $("speed"), loop = $("loop");
  const toggle = () => (playhead.playing ? playhead.pause() : playhead.play());
  play.addEventListener("click", toggle);
  $("first").addEventListener("click", () => playhead.seek(0));
  $("back").addEventListener("click", () => playhead.step(-1));
  $("forth").addEventListener("click", () => playhead.step(1));
  scrub.addEventListener("input", () => { playhead.pause(); playhead.seek(Number(scrub.value) / playhead.fps); });
  speed.addEventListener("change", () => { playhead.speed = Number(speed.value); });
  const loops = () => { playhead.loop = !playhead.loop; loop.setAttribute("aria-pressed", playhead.loop); };
  loop.addEventListener("click", loops);
  playhead.addEventListener("change", () => {
    const frame = Math.min(playhead.frame, playhead.frames - 1), empty = !playhead.last;
    play.toggleAttribute("data-playing", playhead.playing);
    play.setAttribute("aria-label", playhead.playing ? "Pause" : "Play");
    scrub.max = playhead.frames - 1;
    scrub.value = frame;
    scrub.setAttribute("aria-valuetext", `frame ${frame}`);
    $("clock").firstChild.data = `${Math.min(playhead.seconds, playhead.last).toFixed(2)} s`;
    $("clock").lastChild.textContent = empty ? "" : ` · frame ${frame} / ${playhead.frames - 1}`;
  });
  const pace = (by) => {
    speed.selectedIndex = Math.min(Math.max(speed.selectedIndex + by, 0), speed.options.length - 1);
    playhead.speed = Number(speed.value);
  };
  return { toggle, loops, pace };
}
