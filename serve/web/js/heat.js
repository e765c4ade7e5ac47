// Displacement as colour: distances between surfaces in millimetres, and the ramp that shows them.

const STOPS = [[0, 0xa9b1b8], [0.12, 0x9fb8c4], [0.35, 0xf0c75e], [0.65, 0xe2672f], [1, 0x8d1432]];
const linear = (byte) => { const s = byte / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; };

const RAMP = new Float32Array(3 * 256); // linear light, as vertex colours are
for (let k = 0; k < 256; k++) {
  const at = k / 255, next = Math.max(1, STOPS.findIndex(([stop]) => stop >= at));
  const [[from, low], [to, high]] = [STOPS[next - 1], STOPS[next]], share = (at - from) / (to - from);
  for (let c = 0; c < 3; c++) {
    const [p, q] = [low, high].map((colour) => linear((colour >> (16 - 8 * c)) & 255));
    RAMP[3 * k + c] = p + share * (q - p);
  }
}

/** Millimetres between corresponding vertices. */
export function distances(points, others, out = new Float32Array(points.length / 3)) {
  for (let v = 0; v < out.length; v++) {
    const k = 3 * v;
    out[v] = 1000 * Math.hypot(points[k] - others[k], points[k + 1] - others[k + 1], points[k + 2] - others[k + 2]);
  }
  return out;
}

export function coloured(millimetres, most, out) {
  for (let v = 0; v < millimetres.length; v++) {
    const k = 3 * Math.min(255, Math.round((255 * millimetres[v]) / most));
    out[3 * v] = RAMP[k]; out[3 * v + 1] = RAMP[k + 1]; out[3 * v + 2] = RAMP[k + 2];
  }
  return out;
}

/** The next of 1, 2, 5, 10, 20, … at or above. */
export function round(value) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)));
  return ten * [1, 2, 5, 10].find((step) => step * ten >= value - 1e-9);
}

export function drawRamp(canvas) {
  const context = canvas.getContext("2d"), { width, height } = canvas, byte = (s) => Math.round(255 * (s <= 0.0031308 ? 12.92 * s : 1.055 * s ** (1 / 2.4) - 0.055));
  for (let x = 0; x < width; x++) {
    const k = 3 * Math.round((255 * x) / (width - 1));
    context.fillStyle = `rgb(${byte(RAMP[k])} ${byte(RAMP[k + 1])} ${byte(RAMP[k + 2])})`;
    context.fillRect(x, 0, 1, height);
  }
}
