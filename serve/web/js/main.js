// Puts the page together: library, stage, timeline and chat around one playhead.
import { json, key, remember } from "./api.js";
import { Attachments } from "./attachments.js";
import { cast } from "./casting.js";
import { Chat } from "./chat.js";
import { $, calm, h } from "./dom.js";
import { downloads } from "./downloads.js";
import { drawRamp } from "./heat.js";
import { keys } from "./keys.js";
import { Library } from "./library.js";
import { fault } from "./notices.js";
import { Playhead } from "./playhead.js";
import { Stage } from "./stage.js";
import { tabs } from "./tabs.js";
import { theme } from "./theme.js";
import { Timeline } from "./timeline.js";
import { transport } from "./transport.js";
import { webcam } from "./webcam.js";
import { words } from "./words.js";

const RESTING = "head"; // what stands on the stage before there is a motion
const playhead = new Playhead(), library = new Library(), slots = { a: null, b: null }, casting = { a: 0, b: 0 };
const panel = tabs();
const note = (text) => { $("stage-note").textContent = text; };

let stage = null;
try {
  stage = new Stage($("canvas"), () => playhead.seconds);
  playhead.addEventListener("change", () => stage.ask());
  stage.addEventListener("lost", () => note("The graphics were lost; waiting for them to come back."));
  stage.addEventListener("restored", () => note(""));
  stage.addEventListener("painted", () => {
    $("legend").hidden = !stage.heat || !stage.most;
    $("legend-most").textContent = `${stage.most} mm`;
  });
  drawRamp($("ramp"));
} catch { note("This browser shows no 3-D graphics (WebGL 2); curves, tokens and downloads work all the same."); }

const timeline = new Timeline(playhead, (times) => (stage?.has("a") && stage?.has("b") ? stage.difference(times) : null));
const toggleTheme = theme(() => timeline.ask());
const controls = transport(playhead);

function spanned() {
  const shown = Object.values(slots).filter(Boolean);
  playhead.span(Math.max(0, ...shown.map((motion) => motion.last)), (slots.a ?? slots.b)?.fps ?? 25, shown.some((motion) => !motion.complete && !motion.broken));
  timeline.ask();
}

/** Put a motion into a slot (null empties it); it plays from its start unless the user wants less movement. */
async function show(motion, slot, asked = false) {
  const turn = ++casting[slot];
  slots[slot] = motion;
  titles();
  if (asked) panel.select("work"); else panel.news("work");
  if (!motion) {
    stage?.set(slot, null, null);
    if (!slots.a && !slots.b) rest();
    timeline.set(slots.a, slots.b);
    return spanned();
  }
  try {
    if (!motion.frames) note("Loading the motion…");
    await library.load(motion);
    if (turn !== casting[slot]) return;
    timeline.set(slots.a, slots.b);
    spanned();
    const figure = stage && (await cast(motion, RESTING, (share) => note(share === null ? "Loading the mesh…" : `Loading the mesh: ${Math.round(100 * share)} %`)));
    if (turn !== casting[slot]) return figure?.dispose();
    if (stage) note(figure ? "" : "The motion is shown when it has arrived whole.");
    stage?.set(slot, figure, motion);
    if (slot === "b" && !slots.a) stage?.set("a", null, null);
    timeline.differences = null;
    spanned();
    playhead.seek(0);
    if (!calm() && !location.hash.includes("still")) playhead.play();
  } catch (error) {
    if (turn !== casting[slot]) return;
    slots[slot] = null;
    stage?.set(slot, null, null);
    titles();
    note("");
    timeline.set(slots.a, slots.b);
    spanned();
    $("notices").replaceChildren(fault(error, () => show(motion, slot)));
  }
}

/** The rig at rest, when there is nothing to play. */
async function rest() {
  if (!stage) return;
  const turn = ++casting.a;
  try {
    note("Loading the head…");
    const figure = await cast(null, RESTING, (share) => share !== null && note(`Loading the head: ${Math.round(100 * share)} %`));
    if (turn !== casting.a) return figure.dispose();
    stage.set("a", figure, null);
    note("");
  } catch (error) {
    if (turn === casting.a) note(error.status === 404 ? "Nothing to show yet." : `No head to show: ${words(error).title}`);
  }
}

function titles() {
  for (const slot of ["a", "b"]) {
    const title = $(`title-${slot}`), motion = slots[slot];
    title.replaceChildren(...(motion ? [h("b", {}, slot.toUpperCase()), motion.label] : []));
    title.hidden = !motion;
    $(`pick-${slot}`).value = motion ? library.all.indexOf(motion) : "";
  }
  $("swap").disabled = !slots.a || !slots.b;
  $("heat").options[2].disabled = !slots.a || !slots.b;
  if ($("heat").selectedIndex === 2 && (!slots.a || !slots.b)) heat("");
  chat?.mark(slots);
}

function heat(kind) {
  $("heat").value = kind;
  if (!stage) return;
  stage.heat = kind;
  stage.repaint();
}

function pressed(name) {
  if (!stage) return;
  stage[name] = !stage[name];
  $(name).setAttribute("aria-pressed", stage[name]);
  stage.repaint();
}

async function swap() {
  const { a, b } = slots;
  if (a && b) await Promise.all([show(b, "a"), show(a, "b")]);
}

const following = new WeakSet();
library.addEventListener("change", () => {
  for (const slot of ["a", "b"]) {
    $(`pick-${slot}`).replaceChildren(h("option", { value: "" }, slot === "a" ? "nothing" : "nothing to compare"), ...library.all.map((motion, k) => h("option", { value: k }, motion.label)));
  }
  for (const motion of library.all) {
    if (following.has(motion)) continue;
    following.add(motion);
    const more = () => {
      if (slots.a !== motion && slots.b !== motion) return;
      spanned();
      if (motion.complete && stage?.heat) stage.repaint();
      if (motion.complete && stage && !stage.has(slots.a === motion ? "a" : "b")) show(motion, slots.a === motion ? "a" : "b");
    };
    motion.addEventListener("more", more);
    motion.addEventListener("broken", () => { motion.broken = true; spanned(); });
  }
  titles();
});
for (const slot of ["a", "b"]) $(`pick-${slot}`).addEventListener("change", (event) => show(library.all[event.target.value] ?? null, slot));

const attachments = new Attachments((about, name) => {
  const motion = library.known(about, name);
  chat.note(motion);
  show(motion, "a");
});
let chat = null;
chat = new Chat(library, attachments, { show, arrived: () => titles() });
webcam((file) => attachments.add(file));
downloads(() => slots.a);

$("swap").addEventListener("click", swap);
$("heat").addEventListener("change", () => heat($("heat").value));
$("grey").addEventListener("click", () => pressed("grey"));
$("axes").addEventListener("click", () => pressed("axes"));
$("reset").addEventListener("click", () => stage?.frame());
$("theme").addEventListener("click", toggleTheme);
$("help").addEventListener("click", () => $("keys").showModal());
$("canvas").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1], "+": [0, 0, 0.9], "=": [0, 0, 0.9], "-": [0, 0, 1.11] }[event.key];
  if (by && stage) { event.preventDefault(); stage.orbit(...by); }
});
keys([
  [[" "], "play or pause", controls.toggle],
  [["ArrowLeft", "ArrowRight"], "a frame back, forward", (k) => playhead.step(k ? 1 : -1)],
  [["Shift+ArrowLeft", "Shift+ArrowRight"], "ten frames back, forward", (k) => playhead.step(k ? 10 : -10)],
  [["Home", "End"], "to the start, the end", (k) => playhead.seek(k ? playhead.last : 0)],
  [["[", "]"], "slower, faster", (k) => controls.pace(k ? 1 : -1)],
  [["l"], "loop", controls.loops],
  [["h"], "heat-map: off, from neutral, A from B", () => heat(["", "neutral", "other"][($("heat").selectedIndex + 1) % (slots.a && slots.b ? 3 : 2)])],
  [["g"], "neutral grey", () => pressed("grey")],
  [["v"], "head axes", () => pressed("axes")],
  [["x"], "swap A and B", swap],
  [["r"], "reset the view", () => stage?.frame()],
  [["d"], "downloads of A", () => $("downloads").click()],
  [["t"], "dark or light", toggleTheme],
  [["/"], "to the prompt", () => { panel.select("chat"); $("prompt").focus(); }],
  [["?"], "this list", () => $("keys").showModal()],
]);

async function models() {
  const select = $("model");
  try {
    const { data } = await json("models");
    select.replaceChildren(...data.map(({ id }) => h("option", { value: id }, id)));
    select.disabled = false;
    $("notices").replaceChildren();
    return true;
  } catch (error) {
    select.disabled = true;
    $("notices").replaceChildren(fault(error, enter));
    if (error.status === 401) $("key").focus();
    return false;
  }
}

async function enter() {
  if (!(await models())) return;
  if (!slots.a && !slots.b) rest();
  library.before();
}

$("key").value = key();
$("key").addEventListener("change", () => { remember($("key").value.trim()); enter(); });
library.dispatchEvent(new Event("change"));
enter();
// What the tests look at.
globalThis.studio = { slots, playhead, library, stage };
