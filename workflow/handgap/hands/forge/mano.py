"""OpenMANO: the annotation hand, 778 of the render hand's own vertices with 16 joints (MANO order)."""

from dataclasses import dataclass

import numpy as np

from handgap.core.conventions import (
    FINGERTIPS,
    MANO_PARENTS,
    MIDDLE_MCP,
    N_ANNOTATION_FACES,
    N_ANNOTATION_VERTICES,
    NIMBLE_BONES,
    NIMBLE_TO_SIMPLE,
)
from handgap.hands import mesh
from handgap.hands.forge.nimble import Skin, ring_at
from handgap.hands.render_hand import ANNOTATION_BONES

WRIST_DISTANCE = 0.015  # MANO reaches 14-15 mm behind its wrist joint
# a disk has F = 2 V - 2 - B faces
N_BOUNDARY = 2 * N_ANNOTATION_VERTICES - 2 - N_ANNOTATION_FACES
N_SHAPE = 10
# place of each annotation joint among the render hand's bones, both without the root
FINGER_BONES = np.searchsorted(NIMBLE_BONES, ANNOTATION_BONES[1:]) - 1


@dataclass
class Annotation:
    """Topology of the annotation hand: `ids` (778,) render vertices and `faces` (1538, 3) among them."""

    ids: np.ndarray
    faces: np.ndarray
    weights: np.ndarray
    tip_vertices: np.ndarray


def build_annotation(skin: Skin) -> Annotation:
    """Cut the render hand behind the wrist and thin it to MANO's size, finer where the fingers bend."""
    arm = skin.vertices[skin.n_hand + 1 : -1].mean(0)
    ring = ring_at(skin.quads_hand, skin.vertices, skin.joints[0], arm / np.linalg.norm(arm), WRIST_DISTANCE)
    fingertip = int(np.argmax(skin.vertices[skin.quads_hand].mean(1)[:, 1]))
    quads = skin.quads_hand[mesh.flood_faces(skin.quads_hand, fingertip, [ring])]
    used, compact = np.unique(quads, return_inverse=True)
    vertices, weights = skin.vertices[used], skin.weights[used]
    (faces,) = mesh.triangulate(compact.reshape(-1, 4), vertices)
    mix = 1.0 - weights[:, :25].max(1)
    finger = 1.0 - weights[:, [0, 5, 10, 15, 20, 25]].sum(1)
    chosen, faces = mesh.decimate(
        vertices, faces, N_ANNOTATION_VERTICES - N_BOUNDARY, N_BOUNDARY, 1.0 + finger + 4.0 * finger * mix
    )
    ids = used[chosen]
    points = skin.vertices[ids]
    ends = skin.joints[NIMBLE_TO_SIMPLE[list(FINGERTIPS)]]
    tips = [np.linalg.norm(points - end, axis=1).argmin() for end in ends]
    full = skin.weights[ids]
    merged = full[:, ANNOTATION_BONES]
    merged[:, 0] = 1.0 - merged[:, 1:].sum(1)
    return Annotation(ids=ids, faces=faces, weights=merged, tip_vertices=np.array(tips))


# Where MANO has a joint, seen from MakeHuman's bone, by MANO's joint id: to the little finger's side, to the fingers,
# out of the back; in lengths from the wrist to the middle knuckle. Found with this hand's skin laid over two published
# MANO meshes (1.2 mm apart on average), which agree within 0.3 mm on the wrist and within 1 to 2 mm on the others.
# How far out a knuckle lies follows MANO's proportions: wrist to knuckle, in lengths of index and middle finger
# together, is 0.585, 0.591, 0.527, 0.504 there on average (index, middle, ring, pinky).
MANO_JOINTS = {
    0: (-0.005, 0.095, -0.042),
    13: (-0.006, -0.009, -0.163),
    14: (-0.042, 0.059, -0.005),
    1: (0.023, -0.040, -0.055),
    4: (-0.012, 0.022, -0.061),
    10: (0.034, -0.058, -0.052),
    7: (0.005, -0.064, -0.042),
}


def annotated_joints(joint_samples: np.ndarray) -> np.ndarray:
    """Joints (N, 16, 3) as annotations place them, from those the skin turns about: (N, 25, 3), rest frame."""
    seen = joint_samples[:, ANNOTATION_BONES]
    length = np.linalg.norm(joint_samples[:, NIMBLE_TO_SIMPLE[MIDDLE_MCP]] - joint_samples[:, 0], axis=1)
    for joint, offset in MANO_JOINTS.items():
        seen[:, joint] += length[:, None] * offset
    return seen


def annotation_arrays(
    annotation: Annotation, mean: np.ndarray, shapedirs: np.ndarray, regressor: np.ndarray, seen: np.ndarray
) -> dict[str, np.ndarray]:
    """Arrays of the model file that do not depend on poses.

    Args:
        annotation: topology.
        mean, shapedirs: (V, 3) and (V, 3, S) of the render hand; the first ten directions are the annotation's too.
        regressor, seen: (25, V) of the render hand's joints and (16, V) of `annotated_joints`, from the annotation
            hand's vertices alone.
    """
    ids = annotation.ids
    return {
        "v_template": mean[ids],
        "faces": annotation.faces,
        "shapedirs": shapedirs[ids, :, :N_SHAPE],
        "J_regressor": regressor[ANNOTATION_BONES][:, ids],
        "keypoint_regressor": seen[:, ids],
        "weights": annotation.weights,
        "parents": MANO_PARENTS,
        "tip_vertices": annotation.tip_vertices,
    }
