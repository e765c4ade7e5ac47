// Morph targets added up on the CPU: exact normals and displacements for free, no limit on their number (phones have
// one of 256 layers), and far cheaper than 52 texture look-ups a vertex where graphics are computed in software.

/** What a mesh's targets move: for each by name the vertices and their offsets, without the zeros. */
export function sparse(mesh) {
  const targets = new Map();
  for (const [name, k] of Object.entries(mesh.morphTargetDictionary ?? {})) {
    const dense = mesh.geometry.morphAttributes.position[k].array, vertices = [];
    for (let v = 0; v < dense.length / 3; v++) if (dense[3 * v] || dense[3 * v + 1] || dense[3 * v + 2]) vertices.push(v);
    const offsets = new Float32Array(3 * vertices.length);
    vertices.forEach((v, i) => { for (let c = 0; c < 3; c++) offsets[3 * i + c] = dense[3 * v + c]; });
    targets.set(name, { vertices: Uint32Array.from(vertices), offsets });
  }
  return targets;
}

/** `out` = rest + the weighted targets; `weights` are [target, weight] pairs. */
export function blend(rest, weights, out) {
  out.set(rest);
  for (const [{ vertices, offsets }, weight] of weights) {
    for (let i = 0, o = 0; i < vertices.length; i++, o += 3) {
      const v = 3 * vertices[i];
      out[v] += weight * offsets[o];
      out[v + 1] += weight * offsets[o + 1];
      out[v + 2] += weight * offsets[o + 2];
    }
  }
  return out;
}

/** Unit normals a vertex, triangles weighted by area. */
export function normals(points, index, out) {
  out.fill(0);
  for (let i = 0; i < index.length; i += 3) {
    const a = 3 * index[i], b = 3 * index[i + 1], c = 3 * index[i + 2];
    const ux = points[b] - points[a], uy = points[b + 1] - points[a + 1], uz = points[b + 2] - points[a + 2];
    const vx = points[c] - points[a], vy = points[c + 1] - points[a + 1], vz = points[c + 2] - points[a + 2];
    const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
    out[a] += x; out[a + 1] += y; out[a + 2] += z;
    out[b] += x; out[b + 1] += y; out[b + 2] += z;
    out[c] += x; out[c + 1] += y; out[c + 2] += z;
  }
  for (let v = 0; v < out.length; v += 3) {
    const length = Math.hypot(out[v], out[v + 1], out[v + 2]) || 1;
    out[v] /= length; out[v + 1] /= length; out[v + 2] /= length;
  }
  return out;
}
