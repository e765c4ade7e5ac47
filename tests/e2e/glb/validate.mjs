// Khronos' verdict on a GLB file as JSON: node validate.mjs FILE
import { readFile } from "node:fs/promises";
import validator from "gltf-validator";

const report = await validator.validateBytes(new Uint8Array(await readFile(process.argv[2])), { maxIssues: 50 });
console.log(JSON.stringify(report));
