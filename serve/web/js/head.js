// A head that rows of channels drive: expressions by target names, turns and translation by joint names.
import * as THREE from "../vendor/three.module.js";
import { clone } from "../vendor/SkeletonUtils.js";
import { blend, normals, sparse } from "./blend.js";
import { pose } from "./motion.js";

const targetsOf = new WeakMap();

/** Whether a GLB is a head of ours: one skinned mesh with named targets, joints under `root`. */
export function drivable(gltf) {
  const kind = gltf.asset?.extras?.tdmm_lm?.kind;
  return !kind && Boolean(gltf.scene.getObjectByName("root")) && meshes(gltf.scene).length === 1;
}

const meshes = (scene) => {
  const found = [];
  scene.traverse((node) => { if (node.isSkinnedMesh && node.morphTargetDictionary) found.push(node); });
  return found;
};

export class Head {
  constructor(gltf) {
    this.object = clone(gltf.scene);
    const [own] = meshes(gltf.scene), [mesh] = meshes(this.object), from = own.geometry;
    if (!targetsOf.has(from)) targetsOf.set(from, sparse(own));
    this.targets = targetsOf.get(from);
    this.rest = from.attributes.position.array;
    this.index = from.index.array;
    const count = from.attributes.position.count, colours = new Float32Array(3 * count).fill(1), told = from.attributes.color;
    for (let v = 0; told && v < count; v++) colours.set([told.getX(v), told.getY(v), told.getZ(v)], 3 * v);
    this.colours = colours;

    const geometry = new THREE.BufferGeometry().setIndex(from.index);
    const attribute = (array) => new THREE.BufferAttribute(array, 3).setUsage(THREE.DynamicDrawUsage);
    this.points = attribute(Float32Array.from(this.rest));
    this.normals = attribute(new Float32Array(this.rest.length));
    this.shown = attribute(Float32Array.from(colours));
    geometry.setAttribute("position", this.points).setAttribute("normal", this.normals).setAttribute("color", this.shown);
    for (const name of ["skinIndex", "skinWeight", "uv"]) if (from.attributes[name]) geometry.setAttribute(name, from.attributes[name]);
    normals(this.rest, this.index, this.normals.array);
    mesh.geometry = geometry;
    mesh.morphTargetInfluences = mesh.morphTargetDictionary = undefined;
    mesh.frustumCulled = false;
    mesh.material = new THREE.MeshStandardMaterial({ vertexColors: true, roughness: 0.62, metalness: 0, side: THREE.DoubleSide });
    this.mesh = mesh;
    this.bones = new Map(mesh.skeleton.bones.map((bone) => [bone.name, { bone, rest: bone.position.clone() }]));
    this.root = this.bones.get("root").bone;
    this.row = new Float32Array(0);
    this.turned = false;
  }

  /** Pose as the motion is at a time; without one, at rest. */
  show(motion, seconds) {
    const names = motion?.channels ?? [];
    if (this.row.length !== names.length) this.row = new Float32Array(names.length);
    if (motion?.frames) motion.at(seconds, this.row); else this.row.fill(0);
    const weights = [], turns = {}, place = [0, 0, 0];
    names.forEach((name, k) => {
      const value = this.row[k], part = pose(name);
      if (!part) {
        const target = this.targets.get(name);
        if (target && value) weights.push([target, value]);
      } else if (part.joint === "translation") place[part.axis] = value;
      else (turns[part.joint] ??= [0, 0, 0])[part.axis] = value;
    });
    blend(this.rest, weights, this.points.array);
    normals(this.points.array, this.index, this.normals.array);
    this.points.needsUpdate = this.normals.needsUpdate = true;
    this.turned = false;
    for (const [name, { bone, rest }] of this.bones) {
      const [x, y, z] = turns[name] ?? [0, 0, 0], angle = Math.hypot(x, y, z);
      bone.quaternion.identity();
      if (angle > 1e-7) bone.quaternion.setFromAxisAngle(new THREE.Vector3(x, y, z).divideScalar(angle), angle);
      if (name === "root") bone.position.copy(rest).add(new THREE.Vector3(...place));
      else if (angle > 1e-4) this.turned = true;
    }
  }

  /** Where the vertices are in the head's own frame (its movement taken out), metres. */
  surface() {
    if (!this.turned) return this.points.array;
    this.object.updateMatrixWorld(true);
    const out = new Float32Array(this.rest.length), back = this.root.matrixWorld.clone().invert(), point = new THREE.Vector3();
    const home = this.bones.get("root").rest;
    for (let v = 0; v < out.length / 3; v++) {
      point.fromBufferAttribute(this.points, v);
      this.mesh.applyBoneTransform(v, point);
      point.applyMatrix4(back).add(home).toArray(out, 3 * v);
    }
    return out;
  }

  /** The vertices that displacement is told of: all. */
  neutral() { return this.rest; }

  /** Own colours, neutral grey, or the given linear RGB a vertex. */
  paint(colours, grey) {
    if (colours) this.shown.array.set(colours);
    else if (grey) this.shown.array.fill(0.42);
    else this.shown.array.set(this.colours);
    this.shown.needsUpdate = true;
  }

  dispose() { this.mesh.geometry.dispose(); this.mesh.material.dispose(); }
}
