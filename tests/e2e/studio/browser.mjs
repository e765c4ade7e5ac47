// What the scenes are played with: a headless Chromium, its page, everything that its console complains of.
import path from "node:path";
import puppeteer from "puppeteer-core";

const FLAGS = [
  "--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
  "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
];

export async function open(url, folder, chromium) {
  const browser = await puppeteer.launch({ executablePath: chromium, args: FLAGS });
  const page = await browser.newPage(), errors = [], sent = [];
  page.on("pageerror", (error) => errors.push(String(error.stack ?? error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) errors.push(message.text());
  });
  page.on("request", (request) => { if (request.method() === "POST") sent.push({ url: request.url(), body: request.postData() ?? "" }); });
  const client = await browser.target().createCDPSession();
  await client.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: folder });
  let refusing = null;
  await page.setRequestInterception(true);
  page.on("request", (request) => {
    if (!refusing || !request.url().includes(refusing.path)) return request.continue();
    return refusing.status ? request.respond({ ...refusing, contentType: "application/json" }) : request.abort("connectionrefused");
  });
  const wait = (condition, timeout = 60000) => page.waitForFunction(condition, { timeout });
  return {
    browser, page, errors, sent, wait,
    refuse: (answer) => { refusing = answer; },
    enter: async (more = "") => {
      await page.goto(url + more, { waitUntil: "load" });
      await wait("globalThis.studio?.stage?.has('a') && !document.getElementById('model').disabled");
    },
    type: async (id, text) => page.$eval(`#${id}`, (input, value) => { input.value = value; input.dispatchEvent(new Event("change")); }, text),
    ask: async (text) => {
      const before = await page.evaluate("studio.library.all.filter((one) => one.complete).length");
      await page.type("#prompt", text);
      await page.keyboard.press("Enter");
      await wait(`studio.library.all.filter((one) => one.complete).length > ${before} && document.getElementById("turns").getAttribute("aria-busy") === "false"`);
    },
    rest: (ms = 350) => new Promise((done) => setTimeout(done, ms)),
    picture: async (name) => page.screenshot({ path: path.join(folder, `${name}.png`) }),
    text: (id) => page.$eval(`#${id}`, (element) => element.innerText),
    still: async (seconds) => {
      await page.evaluate((at) => { studio.playhead.pause(); studio.playhead.seek(at); }, seconds);
      await new Promise((done) => setTimeout(done, 350));
    },
  };
}
