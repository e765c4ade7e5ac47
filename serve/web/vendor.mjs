// Copies the few modules of three.js that the page uses into vendor/: node vendor.mjs, after npm install.
// Their bare `from 'three'` becomes a relative path, so the page needs no import map and its CSP no 'unsafe-inline'.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const three = path.join(here, "node_modules", "three");
const wanted = JSON.parse(await readFile(path.join(here, "package.json"), "utf8")).dependencies.three;
const found = JSON.parse(await readFile(path.join(three, "package.json"), "utf8")).version;
if (found !== wanted) throw new Error(`vendor: expected three ${wanted}, got ${found}; run npm install.`);

const files = [
  "LICENSE", "build/three.core.js", "build/three.module.js", "examples/jsm/controls/OrbitControls.js",
  "examples/jsm/loaders/GLTFLoader.js", "examples/jsm/utils/BufferGeometryUtils.js", "examples/jsm/utils/SkeletonUtils.js",
];
const names = new Set(files.map((file) => path.basename(file)));
await rm(path.join(here, "vendor"), { recursive: true, force: true });
await mkdir(path.join(here, "vendor"));
for (const file of files) {
  const text = (await readFile(path.join(three, file), "utf8"))
    .replace(/^(\} from|import .* from) '(three|\.\.?\/[\w/.]+)';/gm, (whole, start, from) => {
      const name = from === "three" ? "three.module.js" : path.basename(from);
      if (!names.has(name)) throw new Error(`vendor: ${file} imports ${from}, which is not copied.`);
      return `${start} './${name}';`;
    });
  await writeFile(path.join(here, "vendor", path.basename(file)), text);
}
console.log(`vendor: three ${found}, ${files.length} files`);
