// The server's routes: the key on every request, refusals as `Refusal`, uploads and downloads with progress.
import { Refusal } from "./words.js";

const ROOT = new URL("../../v1/", import.meta.url);
const KEPT = "tdmm-key";

export const key = () => sessionStorage.getItem(KEPT) ?? "";
export const remember = (text) => text ? sessionStorage.setItem(KEPT, text) : sessionStorage.removeItem(KEPT);

/** The place of a route, or of a link that the server gave: always at this origin, which is all that the CSP allows. */
export function place(path) {
  if (!/^https?:/.test(path)) return new URL(path, ROOT);
  const { pathname, search } = new URL(path);
  return new URL(pathname + search, ROOT);
}

const headers = (more = {}) => (key() ? { authorization: `Bearer ${key()}`, ...more } : more);

function refusal(status, text, wait) {
  let said = text.slice(0, 400), code = null;
  try {
    const { error, detail } = JSON.parse(text);
    said = error?.message ?? (typeof detail === "string" ? detail : said);
    code = error?.code ?? null;
  } catch { /* a proxy's page: no JSON */ if (/^\s*</.test(text)) said = `Something before the server answered ${status}.`; }
  const seconds = Number.parseFloat(wait ?? "");
  return new Refusal(status, said, { code, wait: Number.isFinite(seconds) ? seconds : null });
}

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(place(path), { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, String(error.message ?? error));
  }
  if (!response.ok) throw refusal(response.status, await response.text().catch(() => ""), response.headers.get("retry-after"));
  return response;
}

export const json = async (path, options) => (await ask(path, options)).json();
export const post = (path, body, options = {}) =>
  ask(path, { ...options, method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** The file's object on the server. fetch() tells no upload progress, XMLHttpRequest does. */
export function upload(file, onprogress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(), form = new FormData();
    form.append("purpose", "user_data");
    form.append("file", file, file.name);
    request.open("POST", place("files"));
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onprogress(event.loaded / event.total);
    request.onerror = () => reject(new Refusal(0, "network"));
    request.onabort = () => reject(new DOMException("given up", "AbortError"));
    request.onload = () => {
      if (request.status >= 300) return reject(refusal(request.status, request.responseText, request.getResponseHeader("retry-after")));
      try { resolve(JSON.parse(request.responseText)); } catch { reject(new Refusal(request.status, "The answer was no JSON.")); }
    };
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** The bytes behind a link; `onprogress` gets a fraction, or null while nobody knows. */
export async function bytes(path, onprogress = () => {}) {
  const response = await ask(path), total = Number(response.headers.get("content-length")) || 0, parts = [];
  let seen = 0;
  try {
    for (const reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      seen += value.length;
      onprogress(total ? seen / total : null);
    }
  } catch { throw new Refusal(0, "The connection broke off."); }
  if (total && seen < total) throw new Refusal(0, "The connection broke off.");
  return new Blob(parts, { type: response.headers.get("content-type") ?? "" });
}
