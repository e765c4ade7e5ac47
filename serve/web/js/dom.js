// Elements without markup: text always becomes text nodes, never HTML.

export const $ = (id) => document.getElementById(id);

/** An element; `attributes` with on… functions become listeners, null and false ones are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Text whose http(s) addresses are links, as nodes. */
export function linked(text) {
  return text.split(/(https?:\/\/[^\s)\]]+)/).filter(Boolean).map((piece, k) =>
    /^https?:\/\//.test(piece) ? h("a", { href: piece, rel: "noreferrer", target: "_blank" }, piece) : piece);
}

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A canvas as large as it is shown, in device pixels (at most 2 a CSS pixel); its context is scaled back. */
export function fitted(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}
