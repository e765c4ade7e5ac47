// The stage: one or two figures side by side under one camera, drawn only when something changed.
import * as THREE from "../vendor/three.module.js";
import { OrbitControls } from "../vendor/OrbitControls.js";
import { coloured, distances, round } from "./heat.js";

const SAMPLED = 24; // moments of a motion that the heat-map's scale is taken from

export class Stage extends EventTarget {
  heat = ""; grey = false; axes = false; most = 0; drawn = 0;
  #slots = { a: null, b: null }; #asked = false; #camera = new THREE.PerspectiveCamera(24, 1, 0.01, 100);

  constructor(canvas, seconds) {
    super();
    this.canvas = canvas;
    this.seconds = seconds; // () => the playhead's time
    this.renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true });
    this.renderer.setPixelRatio(Math.min(devicePixelRatio || 1, 1.5));
    this.renderer.toneMapping = THREE.NeutralToneMapping;
    this.renderer.autoClear = false;
    this.renderer.setClearColor(0x000000, 0); // the sky is the page's
    this.controls = new OrbitControls(this.#camera, canvas);
    this.controls.enableDamping = false;
    this.controls.addEventListener("change", () => this.ask());
    canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); this.dispatchEvent(new Event("lost")); });
    canvas.addEventListener("webglcontextrestored", () => { this.dispatchEvent(new Event("restored")); this.ask(); });
    new ResizeObserver(() => { this.#resize(); this.ask(); }).observe(canvas.parentElement);
    this.#resize();
  }

  /** Put a figure that plays a motion into slot "a" or "b", or take it out. */
  set(slot, figure, motion) {
    const old = this.#slots[slot];
    const first = !this.#slots.a && !this.#slots.b;
    if (old) old.figure.dispose();
    this.#slots[slot] = figure ? { figure, motion, scene: scene(figure), axes: null } : null;
    if (figure && (first || (slot === "a" && old?.figure.constructor !== figure.constructor))) this.frame();
    this.repaint();
  }

  has(slot) { return Boolean(this.#slots[slot]); }
  motion(slot) { return this.#slots[slot]?.motion ?? null; }

  /** Colours, greys and axes anew; the heat-map's scale from the motions. */
  repaint() {
    for (const slot of Object.values(this.#slots)) {
      if (!slot) continue;
      slot.figure.paint(null, this.grey || this.heat);
      if (slot.axes) slot.axes.removeFromParent();
      slot.axes = this.axes ? axes(slot.figure) : null;
    }
    this.most = this.heat ? this.#scale() : 0;
    this.dispatchEvent(new Event("painted"));
    this.ask();
  }

  #other(slot) {
    const { a, b } = this.#slots;
    if (this.heat !== "other") return null;
    const other = slot === a ? b : a;
    return other && other.figure.neutral().length === slot.figure.neutral().length ? other : null;
  }

  #scale() {
    let most = 0;
    for (const slot of Object.values(this.#slots)) {
      if (!slot?.motion?.frames) continue;
      for (let k = 0; k < SAMPLED; k++) most = Math.max(most, this.#worst(slot, (k / (SAMPLED - 1)) * slot.motion.last));
    }
    return round(Math.max(most, 0.5));
  }

  #worst(slot, seconds) {
    slot.figure.show(slot.motion, seconds);
    const all = this.#against(slot, seconds).sort();
    return all[Math.floor(0.995 * (all.length - 1))]; // a few vertices of lashes do not make the scale
  }

  #against(slot, seconds) {
    const other = this.#other(slot);
    if (other) other.figure.show(other.motion, seconds);
    return distances(slot.figure.surface(), other ? other.figure.surface() : slot.figure.neutral());
  }

  /** Mean millimetres between A and B, the heads' own movement taken out, at each of the times; null where they differ in kind. */
  difference(times) {
    const { a, b } = this.#slots;
    if (!a?.motion || !b?.motion || a.figure.neutral().length !== b.figure.neutral().length) return null;
    const found = Float32Array.from(times, (seconds) => {
      a.figure.show(a.motion, seconds);
      b.figure.show(b.motion, seconds);
      const all = distances(a.figure.surface(), b.figure.surface());
      return all.reduce((sum, one) => sum + one, 0) / all.length;
    });
    this.ask();
    return found;
  }

  /** The camera back to where it shows the figures whole. */
  frame() {
    const slot = this.#slots.a ?? this.#slots.b;
    if (!slot) return;
    slot.figure.show(slot.motion, 0);
    slot.figure.object.updateMatrixWorld(true);
    const box = new THREE.Box3();
    slot.figure.object.traverse((mesh) => { if (mesh.isMesh) { mesh.geometry.computeBoundingBox(); box.union(mesh.geometry.boundingBox.clone().applyMatrix4(mesh.matrixWorld)); } });
    const middle = box.getCenter(new THREE.Vector3()), size = box.getSize(new THREE.Vector3()), tall = Math.max(size.y, 0.9 * size.x);
    this.fit = { tall, wide: size.x };
    this.controls.target.copy(middle);
    this.#camera.position.set(middle.x, middle.y, middle.z + this.#far(tall, size.x));
    this.controls.minDistance = tall * 0.6;
    this.controls.maxDistance = tall * 12;
    this.controls.update();
    this.ask();
  }

  #far(tall, wide) {
    const half = Math.tan((this.#camera.fov * Math.PI) / 360);
    return 0.5 * wide + (1.2 * Math.max(tall, (1.15 * wide) / this.#camera.aspect)) / (2 * half);
  }

  /** Orbit by radians and zoom by a factor, for keys. */
  orbit(right, up, zoom = 1) {
    const offset = this.#camera.position.clone().sub(this.controls.target), ball = new THREE.Spherical().setFromVector3(offset);
    ball.theta += right;
    ball.phi = Math.min(Math.max(ball.phi - up, 0.05), Math.PI - 0.05);
    ball.radius = Math.min(Math.max(ball.radius * zoom, this.controls.minDistance), this.controls.maxDistance);
    this.#camera.position.copy(this.controls.target).add(new THREE.Vector3().setFromSpherical(ball));
    this.controls.update();
    this.ask();
  }

  get azimuth() { return this.controls.getAzimuthalAngle(); }

  ask() {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => { this.#asked = false; this.#draw(); });
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement;
    if (width && height) this.renderer.setSize(width, height, false);
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas.parentElement, shown = Object.values(this.#slots).filter(Boolean);
    if (!width || !height) return;
    const seconds = this.seconds();
    for (const slot of shown) slot.figure.show(slot.motion, seconds);
    if (this.heat && this.most) {
      for (const slot of shown) slot.figure.paint(coloured(distances(slot.figure.surface(), (this.#other(slot)?.figure ?? null)?.surface() ?? slot.figure.neutral()), this.most, new Float32Array(slot.figure.neutral().length)));
    }
    this.renderer.setScissorTest(false);
    this.renderer.clear();
    this.renderer.setScissorTest(true);
    const part = width / Math.max(1, shown.length), aspect = part / height;
    if (this.#camera.aspect !== aspect) {
      const before = this.#camera.aspect, { tall, wide } = this.fit ?? { tall: 0, wide: 0 }, was = this.#far(tall, wide);
      this.#camera.aspect = aspect;
      this.#camera.updateProjectionMatrix();
      if (this.fit && before) this.orbit(0, 0, this.#far(tall, wide) / was); // as large in its part as before
    }
    shown.forEach((slot, k) => {
      this.renderer.setViewport(k * part, 0, part, height);
      this.renderer.setScissor(k * part, 0, part, height);
      this.renderer.render(slot.scene, this.#camera);
    });
    this.drawn++;
  }
}

function scene(figure) {
  const made = new THREE.Scene();
  const key = new THREE.DirectionalLight(0xfff4e8, 1.9), fill = new THREE.DirectionalLight(0xe6eeff, 1.1), rim = new THREE.DirectionalLight(0xffffff, 0.5);
  key.position.set(0.7, 0.9, 1.2);
  fill.position.set(-1, -0.1, 0.9);
  rim.position.set(-0.4, 0.8, -1.2);
  made.add(new THREE.HemisphereLight(0xf2f6fa, 0x9a8c80, 1.35), key, fill, rim, figure.object);
  return made;
}

function axes(figure) {
  const box = new THREE.Box3(), points = figure.neutral();
  for (let v = 0; v < points.length; v += 3) box.expandByPoint(new THREE.Vector3(points[v], points[v + 1], points[v + 2]));
  const tall = box.getSize(new THREE.Vector3()).y, made = new THREE.AxesHelper(0.62 * tall);
  made.material.depthTest = false;
  made.setColors(0xd0463b, 0x3f9b4b, 0x4a7fd6); // as the timeline's nod, turn and tilt
  made.renderOrder = 9;
  if (figure.bones) made.position.copy(box.getCenter(new THREE.Vector3())).sub(figure.bones.get("root").rest);
  figure.root.add(made);
  return made;
}
