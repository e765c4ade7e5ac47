// Which figure plays a motion: the head that its rows drive, else the motion's own GLB.
import { glb } from "./loading.js";
import { Figure } from "./figure.js";
import { drivable, Head } from "./head.js";
import { pose } from "./motion.js";

export const rigPath = (rig) => `rigs/${encodeURIComponent(rig)}.glb`;

/** A new figure for the motion (null: the rig at rest). */
export async function cast(motion, rig, onprogress) {
  if (!motion?.body) {
    const gltf = await glb(rigPath(motion?.rig || rig), onprogress).catch((error) => {
      if (!motion?.complete || error.status !== 404) throw error;
      return null;
    });
    const shapes = motion ? motion.channels.filter((name) => !pose(name)) : [];
    if (gltf && drivable(gltf) && (!shapes.length || new Head(gltf).targets.has(shapes[0]))) return new Head(gltf);
    if (!motion) return new Figure(gltf);
  }
  if (!motion.complete) return null; // shown when it is whole
  return new Figure(await glb(`motions/${motion.id}.glb`, onprogress));
}
