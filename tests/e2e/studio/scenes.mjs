// The studio as a user meets it: node scenes.mjs URL FOLDER CHROMIUM FACE BODY [KEY]. Prints as JSON what every scene saw.
import { open } from "./browser.mjs";

const [url, folder, chromium, sample, body, key] = process.argv.slice(2);
const it = await open(url, folder, chromium), { page } = it, seen = {};
const SHOWN = "studio.stage.has('a') && studio.slots.a?.complete && studio.slots.a.frames > 0";
const wide = { width: 1360, height: 820 };

const scenes = {
  async locked() { // a server with keys: it says so, and the key opens it
    await page.setViewport(wide);
    if (!key) return await it.enter();
    await page.goto(url, { waitUntil: "load" });
    await it.wait("document.querySelector('#notices .fault')");
    const saw = { notice: await it.text("notices"), focus: await page.evaluate("document.activeElement.id") };
    await page.type("#key", key);
    await page.keyboard.press("Enter");
    await it.wait("!document.getElementById('model').disabled && studio.stage.has('a')");
    saw.after = await it.text("notices");
    saw.kept = await page.evaluate("[Object.values(sessionStorage), Object.values(localStorage), document.cookie]");
    return saw;
  },
  async first() { // a prompt becomes a motion that plays
    await it.picture("rest");
    await it.type("seconds", "4");
    await it.type("seed", "3");
    await page.evaluate("globalThis.partly = 0; studio.library.addEventListener('change', () => studio.library.all[0]?.addEventListener('more', (e) => { if (!e.target.complete) partly = e.target.frames; }))");
    await it.ask("a woman smiles broadly, then nods twice");
    await it.wait(SHOWN);
    await it.rest(900);
    const playing = await page.evaluate("({ playing: studio.playhead.playing, seconds: studio.playhead.seconds, drawn: studio.stage.drawn, partly })");
    await it.still(2);
    await it.picture("light");
    return { ...playing, frames: await page.evaluate("studio.slots.a.frames"), codes: await page.evaluate("studio.slots.a.codes.length"), rows: await it.text("rows"), prompt: await page.$eval("#prompt", (p) => p.value) };
  },
  async transport() { // buttons, keys, scrubber, timeline: one playhead
    const frame = () => page.evaluate("studio.playhead.frame"), saw = {};
    await it.still(1);
    await page.click("#forth"); saw.forth = await frame();
    await page.click("#back"); await page.click("#back"); saw.back = await frame();
    await page.focus("#timeline");
    await page.keyboard.press("ArrowRight"); saw.right = await frame();
    await page.keyboard.down("Shift"); await page.keyboard.press("ArrowRight"); await page.keyboard.up("Shift"); saw.ten = await frame();
    await page.keyboard.press("End"); saw.end = await frame();
    await page.keyboard.press("Home"); saw.home = await frame();
    await page.keyboard.press("["); saw.speed = await page.evaluate("studio.playhead.speed");
    await page.keyboard.press("]");
    const box = await (await page.$("#plot")).boundingBox();
    await page.mouse.click(box.x + 0.505 * box.width, box.y + box.height - 6); saw.clicked = await frame();
    await page.mouse.move(box.x + 0.255 * box.width, box.y + box.height - 6); saw.tip = await it.text("tip");
    saw.now = await page.$eval("#timeline", (line) => line.getAttribute("aria-valuetext"));
    await page.keyboard.press(" "); await it.rest(500); saw.playing = await page.evaluate("studio.playhead.playing");
    await page.keyboard.press(" ");
    const drawn = await page.evaluate("studio.stage.drawn"); await it.rest(600);
    saw.idle = (await page.evaluate("studio.stage.drawn")) - drawn;
    await page.focus("#canvas");
    const before = await page.evaluate("studio.stage.azimuth"); await page.keyboard.press("ArrowRight");
    saw.orbit = (await page.evaluate("studio.stage.azimuth")) - before;
    await page.keyboard.press("r"); await it.rest(); saw.reset = await page.evaluate("studio.stage.azimuth");
    await page.keyboard.press("?"); saw.help = await it.text("keys-list"); await page.keyboard.press("Escape");
    return saw;
  },
  async second() { // a later turn tells the server which motion is meant
    await it.ask("now make it angrier");
    await it.wait(SHOWN);
    const { body } = it.sent.filter(({ url }) => url.endsWith("/chat/completions")).at(-1);
    return { messages: JSON.parse(body).messages, id: await page.evaluate("studio.library.all[1].id") };
  },
  async compare() { // A and B beside each other, and where they differ
    await page.select("#pick-b", "1");
    await it.wait("studio.stage.has('b')");
    await page.select("#heat", "other");
    await it.still(0.64);
    await page.click("#reset");
    await it.rest(600);
    await it.picture("compare");
    const saw = { most: await page.evaluate("studio.stage.most"), legend: await it.text("legend-most"), rows: await it.text("rows") };
    await page.select("#heat", "neutral"); await it.rest(); saw.neutral = await page.evaluate("studio.stage.most");
    await page.click("#axes"); await page.click("#grey"); await it.rest();
    await page.select("#heat", ""); await it.rest();
    await it.picture("grey");
    await page.click("#axes"); await page.click("#grey");
    const [a, b] = await page.evaluate("[studio.slots.a.id, studio.slots.b.id]");
    await page.click("#swap"); await it.wait(`studio.slots.b?.id === "${a}" && studio.slots.a?.id === "${b}" && studio.stage.has('a') && studio.stage.has('b')`); saw.swapped = true;
    await page.select("#pick-b", ""); await it.rest();
    saw.alone = await page.evaluate("studio.stage.has('b')");
    return saw;
  },
  async downloads() {
    await page.click("#downloads");
    const formats = await page.$$eval("#files button", (all) => all.map((one) => one.dataset.format)), saw = { formats, states: {}, id: await page.evaluate("studio.slots.a.id") };
    for (const format of formats.filter((one) => one !== "mp4")) {
      await page.click(`#files [data-format=${format}]`);
      await it.wait(`/B$|failed/.test(document.querySelector("#files [data-format=${format}] [role=status]").textContent)`);
      saw.states[format] = await page.$eval(`#files [data-format=${format}] [role=status]`, (state) => state.textContent);
    }
    await page.keyboard.press("Escape");
    await it.rest(500);
    return saw;
  },
  async dropped() { // a file is seen at once, and can be asked about
    await it.enter(); // a new conversation; the key and the motions are still there
    await (await page.$("#file")).uploadFile(sample);
    await it.wait("studio.slots.a?.label.endsWith('.npz') && studio.slots.a.frames > 0 && studio.stage.has('a')");
    const saw = { chip: await it.text("chips"), frames: await page.evaluate("studio.slots.a.frames") };
    await page.select("#form", "text");
    await page.type("#prompt", "describe this motion");
    await page.click("#send");
    await it.wait("document.getElementById('turns').getAttribute('aria-busy') === 'false' && document.querySelector('#turns .turn:last-child .small')");
    saw.answer = await page.$eval("#turns .turn:last-child", (turn) => turn.innerText);
    saw.part = JSON.parse(it.sent.filter(({ url }) => url.endsWith("/chat/completions")).at(-1).body).messages.at(-1).content;
    await page.select("#form", "");
    return saw;
  },
  async body() { // a body plays its own GLB
    await (await page.$("#file")).uploadFile(body);
    await it.wait("studio.slots.a?.body && studio.slots.a.frames > 0 && studio.stage.motion('a') === studio.slots.a");
    await it.still(0.5);
    await it.picture("body");
    await page.select("#heat", "neutral"); await it.rest(600);
    const saw = { most: await page.evaluate("studio.stage.most"), chip: await it.text("chips"), note: await it.text("stage-note"), notice: await it.text("notices") };
    await it.picture("body_heat");
    await page.select("#heat", "");
    await page.$$eval("#chips button", (all) => all.forEach((one) => one.click()));
    await page.select("#pick-a", "1");
    await it.wait("!studio.slots.a.body && studio.stage.motion('a') === studio.slots.a");
    return saw;
  },
  async dark() {
    await page.click("#theme");
    await it.still(1.4);
    await it.picture("dark");
    const saw = await page.evaluate("getComputedStyle(document.body).backgroundColor");
    await page.click("#theme");
    return saw;
  },
  async reachable() { // every control by the tab key, with a focus that shows
    const wanted = await page.evaluate(() => [...document.querySelectorAll("button, select, input, textarea, [tabindex='0']")].filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex >= 0 && one.id).map((one) => one.id));
    await page.evaluate("document.activeElement.blur(); document.body.focus()");
    const met = new Set(), blind = [];
    for (let k = 0; k < 120; k++) {
      await page.keyboard.press("Tab");
      const [id, outline] = await page.evaluate(() => [document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]);
      met.add(id);
      if (id && outline === "none") blind.push(id);
    }
    const unnamed = await page.evaluate(() => [...document.querySelectorAll("button, select, input, textarea")].filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length || one.hidden)).map((one) => one.id));
    return { missed: wanted.filter((id) => !met.has(id)), blind: [...new Set(blind)], unnamed };
  },
  async refused() { // errors in words; what was typed stays
    const saw = {}, body = (message, code) => JSON.stringify({ error: { message, type: "x", param: null, code } });
    const answers = {
      unreachable: { status: 0 }, 401: { status: 401, body: body("Incorrect API key provided.", "invalid_api_key") },
      413: { status: 413, body: body("body: expected at most 48 MiB, got 61.2.", "body_too_large") },
      429: { status: 429, headers: { "retry-after": "7" }, body: body("Rate limit reached: 600 requests a minute.", "rate_limit_exceeded") },
      503: { status: 503, headers: { "retry-after": "2" }, body: body("The engine is starting.", "overloaded") },
    };
    for (const [name, answer] of Object.entries(answers)) {
      it.refuse({ ...answer, path: "/v1/chat/completions" });
      await page.$eval("#prompt", (prompt) => { prompt.value = ""; });
      await page.type("#prompt", "he frowns");
      await page.keyboard.press("Enter");
      await it.wait("document.querySelector('#turns .fault') && document.getElementById('turns').getAttribute('aria-busy') === 'false'");
      saw[name] = { card: await page.$eval("#turns .fault", (card) => card.innerText), prompt: await page.$eval("#prompt", (prompt) => prompt.value) };
      if (name === "429") { await it.still(2); await it.picture("error"); }
    }
    const cut = 'data: {"choices":[{"delta":{"content":"He"}}]}\n\n';
    it.refuse({ status: 200, body: cut, path: "/v1/chat/completions" }); // an answer that ends too early
    await page.$eval("#prompt", (prompt) => { prompt.value = ""; });
    await page.type("#prompt", "he frowns");
    await page.keyboard.press("Enter");
    await it.wait("/broke off/.test(document.querySelector('#turns .fault')?.innerText ?? '')");
    saw.cut = { card: await page.$eval("#turns .fault", (card) => card.innerText), prompt: await page.$eval("#prompt", (prompt) => prompt.value) };
    it.refuse(null);
    await it.wait("!document.querySelector('#turns .fault button').disabled");
    const before = await page.evaluate("studio.library.all.filter((one) => one.complete).length");
    await page.click("#turns .fault button");
    await it.wait(`studio.library.all.filter((one) => one.complete).length > ${before}`);
    await it.rest();
    saw.after = { prompt: await page.$eval("#prompt", (prompt) => prompt.value), faults: (await page.$$("#turns .fault")).length };
    return saw;
  },
  async hostile() { // text stays text
    await it.type("seconds", "1");
    await it.ask("<img src=x onerror=alert(1)> smiles");
    return { images: await page.$$eval("img, iframe", (all) => all.length), shown: (await it.text("turns")).includes("<img src=x onerror=alert(1)>") };
  },
  async webcam() { // a fake camera: recorded, sent, and read or refused in words
    await page.click("#webcam");
    await it.wait("!document.getElementById('record').disabled");
    await page.click("#record");
    await it.rest(1500);
    await page.click("#record");
    await it.wait("document.querySelector('#notices .fault') || studio.slots.a?.label.startsWith('webcam')", 120000);
    const saw = { open: await page.$eval("#camera", (dialog) => dialog.open), sent: it.sent.some(({ url }) => url.endsWith("/v1/files")), notice: await it.text("notices"), chip: await it.text("chips") };
    await page.$$eval("#notices button, #chips button", (all) => all.forEach((one) => one.click()));
    return saw;
  },
  async narrow() { // two tabs, nothing wider than the screen, and less movement where that is wished
    await page.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
    await page.setViewport({ width: 390, height: 844, isMobile: true, hasTouch: true });
    await it.enter();
    await it.type("seconds", "3");
    await it.type("seed", "5");
    await it.ask("a man looks astonished, then tilts his head to the left");
    await it.wait(SHOWN);
    const saw = { playing: await page.evaluate("studio.playhead.playing"), wide: [], chat: await page.$eval("#work", (work) => work.checkVisibility()) };
    saw.wide.push(await page.evaluate("document.documentElement.scrollWidth"));
    await it.picture("narrow_chat");
    await page.click("#tab-stage");
    await it.rest();
    await it.still(1.6);
    await page.evaluate("studio.stage.frame()");
    await it.rest();
    saw.wide.push(await page.evaluate("document.documentElement.scrollWidth"));
    saw.stage = await page.$eval("#chat", (chat) => chat.checkVisibility());
    await it.picture("narrow_stage");
    saw.kept = await page.evaluate("studio.library.all.length");
    return saw;
  },
};

let failed = null;
try {
  for (const [name, scene] of Object.entries(scenes)) {
    failed = name;
    seen[name] = await scene();
  }
  failed = null;
} catch (error) {
  it.errors.push(`${failed}: ${error.stack ?? error}`);
  await it.picture("failed").catch(() => {});
} finally {
  await it.browser.close();
}
console.log(JSON.stringify({ seen, errors: it.errors }));
