// GLB files from the server, parsed once each.
import { TextureLoader } from "../vendor/three.module.js";
import { GLTFLoader } from "../vendor/GLTFLoader.js";
import { bytes } from "./api.js";

const kept = new Map();

/** The parsed GLB at a path; a failure is forgotten, so that it can be asked for again. */
export function glb(path, onprogress) {
  if (!kept.has(path)) {
    const loading = parse(path, onprogress);
    kept.set(path, loading);
    loading.catch(() => kept.delete(path));
    while (kept.size > 8) kept.delete(kept.keys().next().value);
  }
  return kept.get(path);
}

async function parse(path, onprogress) {
  const loader = new GLTFLoader();
  // Textures by <img>, since the bitmap loader fetches blob: addresses, which connect-src 'self' forbids.
  loader.register((parser) => {
    parser.textureLoader = new TextureLoader(parser.options.manager);
    return { name: "textures_by_img" };
  });
  return loader.parseAsync(await (await bytes(path, onprogress)).arrayBuffer(), "");
}
