// What plays its own GLB through three's mixer: bodies, and avatars whose owners named their targets.
import * as THREE from "../vendor/three.module.js";
import { clone } from "../vendor/SkeletonUtils.js";

const GREY = new THREE.Color(0.42, 0.42, 0.42);

export class Figure {
  constructor(gltf) {
    this.object = clone(gltf.scene);
    this.mixer = new THREE.AnimationMixer(this.object);
    for (const animation of gltf.animations) {
      const action = this.mixer.clipAction(animation).setLoop(THREE.LoopOnce, 1);
      action.clampWhenFinished = true;
      action.play();
    }
    this.last = Math.max(0, ...gltf.animations.map((animation) => animation.duration));
    this.parts = [];
    this.object.traverse((mesh) => {
      if (!mesh.isMesh) return;
      mesh.frustumCulled = false;
      mesh.geometry = mesh.geometry.clone();
      const own = mesh.geometry.attributes.color ?? null;
      this.parts.push({ mesh, own, material: mesh.material, start: 0, count: mesh.geometry.attributes.position.count });
    });
    let total = 0;
    for (const part of this.parts) { part.start = total; total += part.count; }
    this.count = total;
    this.plain = new THREE.MeshStandardMaterial({ vertexColors: true, roughness: 0.62, side: THREE.DoubleSide });
    this.root = this.parts.find((part) => part.mesh.isSkinnedMesh)?.mesh.skeleton.bones[0] ?? this.object;
    this.object.updateMatrixWorld(true);
    this.still = this.surface();
  }

  show(motion, seconds) {
    this.mixer.setTime(Math.min(seconds, this.last));
  }

  /** Vertices in the root's frame, metres. */
  surface() {
    this.object.updateMatrixWorld(true);
    const out = new Float32Array(3 * this.count), point = new THREE.Vector3(), back = this.root.matrixWorld.clone().invert();
    for (const { mesh, start, count } of this.parts) {
      if (mesh.isSkinnedMesh) mesh.skeleton.update();
      for (let v = 0; v < count; v++) {
        mesh.getVertexPosition(v, point);
        point.applyMatrix4(mesh.matrixWorld).applyMatrix4(back).toArray(out, 3 * (start + v));
      }
    }
    return out;
  }

  neutral() { return this.still; }

  paint(colours, grey) {
    for (const part of this.parts) {
      const { mesh, own, start, count } = part, plain = colours || grey;
      mesh.material = plain ? this.plain : part.material;
      if (!plain) { if (own) mesh.geometry.setAttribute("color", own); else mesh.geometry.deleteAttribute("color"); continue; }
      part.shown ??= new THREE.BufferAttribute(new Float32Array(3 * count), 3);
      if (colours) part.shown.array.set(colours.subarray(3 * start, 3 * (start + count)));
      else for (let v = 0; v < count; v++) GREY.toArray(part.shown.array, 3 * v);
      part.shown.needsUpdate = true;
      mesh.geometry.setAttribute("color", part.shown);
    }
  }

  dispose() {
    this.mixer.stopAllAction();
    for (const { mesh } of this.parts) mesh.geometry.dispose();
    this.plain.dispose();
  }
}
