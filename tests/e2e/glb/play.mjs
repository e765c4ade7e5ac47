// Plays a GLB in a headless Chromium and takes pictures of it: node play.mjs FILE FOLDER CHROMIUM SECONDS...
// Prints, as JSON, what the page saw at each moment and every error of its console.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import puppeteer from "puppeteer-core";

const [file, folder, chromium, ...moments] = process.argv.slice(2);
const here = path.dirname(fileURLToPath(import.meta.url));
const kinds = { ".js": "text/javascript", ".html": "text/html", ".glb": "model/gltf-binary" };

const server = createServer(async (request, response) => {
  const name = new URL(request.url, "http://localhost").pathname;
  const place = name === "/file.glb" ? file : path.join(here, path.normalize(name));
  try {
    const body = await readFile(place);
    response.writeHead(200, { "content-type": kinds[path.extname(place)] ?? "application/octet-stream" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

const browser = await puppeteer.launch({
  executablePath: chromium,
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"],
});
const errors = [];
const seen = [];
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 512, height: 512 });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
  await page.goto(`http://127.0.0.1:${server.address().port}/page.html`, { waitUntil: "load" });
  await page.waitForFunction("window.ready !== undefined", { timeout: 60000 });
  await page.evaluate("window.ready");
  for (const [count, seconds] of moments.entries()) {
    seen.push(await page.evaluate((at) => window.show(at), Number(seconds)));
    await page.screenshot({ path: path.join(folder, `${count}.png`) });
  }
} catch (error) {
  errors.push(String(error));
} finally {
  await browser.close();
  server.close();
}
console.log(JSON.stringify({ seen, errors }));
