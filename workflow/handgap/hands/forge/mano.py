"""OpenMANO: the annotation hand, 778 of the render hand's own vertices with 16 joints (MANO order)."""

from dataclasses import dataclass

import numpy as np

from handgap.core.conventions import (
    FINGERTIPS,
    MANO_PARENTS,
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


# MakeHuman's finger bones start further out than MANO's: share of the way back to the wrist where MANO has a knuckle,
# by MANO's joint id. Wrist to knuckle, in lengths of index and middle finger together, is 0.585, 0.591, 0.527, 0.504 on
# average of two published MANO meshes (index, middle, ring, pinky) and 0.664, 0.638, 0.613, 0.592 of MakeHuman's bones
KNUCKLES_BACK = {1: 0.068, 4: 0.021, 10: 0.092, 7: 0.101}


def keypoint_regressor(J_regressor: np.ndarray) -> np.ndarray:
    """Regressor (16, V) of the joints as annotations place them, from that of the joints the skin turns about."""
    seen = J_regressor.copy()
    for joint, back in KNUCKLES_BACK.items():
        seen[joint] += back * (J_regressor[0] - J_regressor[joint])
    return seen


def annotation_arrays(
    annotation: Annotation, mean: np.ndarray, shapedirs: np.ndarray, regressor: np.ndarray
) -> dict[str, np.ndarray]:
    """Arrays of the model file that do not depend on poses.

    Args:
        annotation: topology.
        mean, shapedirs: (V, 3) and (V, 3, S) of the render hand; the first ten directions are the annotation's too.
        regressor: (25, V) of the render hand's joints, from the annotation hand's vertices alone.
    """
    ids = annotation.ids
    J_regressor = regressor[ANNOTATION_BONES][:, ids]
    return {
        "v_template": mean[ids],
        "faces": annotation.faces,
        "shapedirs": shapedirs[ids, :, :N_SHAPE],
        "J_regressor": J_regressor,
        "keypoint_regressor": keypoint_regressor(J_regressor),
        "weights": annotation.weights,
        "parents": MANO_PARENTS,
        "tip_vertices": annotation.tip_vertices,
    }
