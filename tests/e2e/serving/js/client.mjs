// The openai package for JavaScript, unmodified: node client.mjs BASE_URL CLIP. Prints what it got as JSON.
import { createReadStream } from "node:fs";
import OpenAI from "openai";

const [baseURL, clip] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const model = "tdmm-nano";

const file = await client.files.create({ file: createReadStream(clip), purpose: "user_data" });
const described = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: [
    { type: "file", file: { file_id: file.id } }, { type: "text", text: "Describe this motion." },
  ] }],
});

const turns = [{ role: "user", content: "a woman smiles broadly, then nods twice" }];
const ask = { model, seed: 1, motion: { seconds: 5 } };
const first = (await client.chat.completions.create({ ...ask, messages: turns })).choices[0].message;
turns.push({ role: "assistant", content: first.content }, { role: "user", content: "now make it angrier" });
const second = (await client.chat.completions.create({ ...ask, messages: turns })).choices[0].message;

let streamed = 0;
for await (const chunk of await client.chat.completions.create({ ...ask, messages: turns.slice(0, 1), stream: true })) {
  const motion = chunk.choices[0]?.delta?.motion;
  if (motion?.data) streamed += motion.frames;
}
console.log(JSON.stringify({
  described: described.choices[0].message.content, frames: first.motion.frames, edited: second.motion.frames, streamed,
}));
