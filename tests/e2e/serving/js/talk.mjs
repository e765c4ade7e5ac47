// OpenAI's package against a server: an upload, a description, a motion streamed and edited, an error. Prints JSON.
//   node talk.mjs http://127.0.0.1:8000/v1 clip.npz
import fs from "node:fs";
import OpenAI from "openai";

const [base, clip] = process.argv.slice(2);
const client = new OpenAI({ baseURL: base, apiKey: "none", maxRetries: 0 });
const model = (await client.models.list()).data[0].id;

const file = await client.files.create({ file: fs.createReadStream(clip), purpose: "user_data" });
const described = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: [
    { type: "file", file: { file_id: file.id } }, { type: "text", text: "Describe this motion." },
  ] }],
});

const turns = [{ role: "user", content: "a woman smiles broadly, then nods twice" }];
const stream = await client.chat.completions.create({
  model, messages: turns, seed: 1, stream: true, stream_options: { include_usage: true }, motion: { seconds: 5 },
});
let content = "", frames = 0, codes = [], whole = null, usage = null, reason = null;
for await (const chunk of stream) {
  usage = chunk.usage ?? usage;
  for (const { delta, finish_reason } of chunk.choices) {
    content += delta.content ?? "";
    reason = finish_reason ?? reason;
    const motion = delta.motion;
    if (motion?.data) {
      const values = new Float32Array(new Uint8Array(Buffer.from(motion.data, "base64")).buffer);
      if (!values.every(Number.isFinite)) throw new Error("a number that is none");
      frames += motion.frames;
      codes.push(...motion.codes);
    } else if (motion?.object) whole = motion;
  }
}
const edited = await client.chat.completions.create({
  model, seed: 1, motion: { seconds: 5 },
  messages: [...turns, { role: "assistant", content }, { role: "user", content: "now make it angrier" }],
});
let refused = null;
try {
  await client.chat.completions.create({ model: "gpt-4", messages: turns });
} catch (error) {
  refused = { kind: error.constructor.name, status: error.status, code: error.code, id: Boolean(error.requestID) };
}
await client.files.delete(file.id);
console.log(JSON.stringify({
  described: described.choices[0].message.content, frames, same: JSON.stringify(codes) === JSON.stringify(whole.codes),
  whole: whole.frames, usage, reason, content, edited: edited.choices[0].message.motion, refused,
}));
