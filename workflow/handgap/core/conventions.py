"""Joint orders, tip vertices, units and axes: each stated once, with its source.

Units are metres and radians, cameras are OpenCV (x right, y down, z forward). A pixel's centre lies at
integer + 0.5: the image spans [0, W] x [0, H], and K maps camera points into that frame.
"""

from enum import IntEnum

import numpy as np

MM = 1e-3  # a millimetre
N_JOINTS = 21
N_ANNOTATION_VERTICES = 778
N_ANNOTATION_FACES = 1538

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
# FreiHAND / OpenPose order ("simple"): wrist, then each finger from base to tip.
JOINT_NAMES = ("wrist", *(f"{finger}{k}" for finger in FINGERS for k in range(1, 5)))
JOINT_PARENTS = np.array([-1, *(0 if k == 1 else 4 * f + k - 1 for f in range(5) for k in range(1, 5))])
WRIST, MIDDLE_MCP, MIDDLE_PIP = 0, 9, 10
FINGERTIPS = (4, 8, 12, 16, 20)

# MANO kinematic order (16 joints): wrist, index, middle, pinky, ring, thumb (Romero et al. 2017, model file).
MANO_PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
# 16 MANO joints + tips (thumb, index, middle, ring, pinky) at 16..20 -> simple order.
MANO_TO_SIMPLE = np.array([0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20])

# Vertex ids of the fingertips (thumb, index, middle, ring, pinky) on MANO's 778 vertices, by who uses them.
# Several tables circulate, up to 5 mm apart; FreiHAND's must be used for FreiHAND's evaluation.
TIP_VERTICES = {
    "freihand": (744, 320, 443, 555, 672),  # FreiHAND, S2HAND, simpleHand
    "ho3d": (744, 333, 444, 555, 672),  # HO3D (setup_mano.py), CMR
    "smplx": (744, 320, 443, 554, 671),  # smplx (vertex_ids.py), YouTube-Hands
    "manopth": (745, 317, 444, 556, 673),  # manopth, right hand: DexYCB, METRO's and MeshGraphormer's ground truth
    "manopth_left": (745, 317, 445, 556, 673),  # manopth, left hand
    "metro": (745, 317, 445, 556, 673),  # METRO's and MeshGraphormer's regressor, of right hands all the same
}

# NIMBLE: 25 anatomical joints; dropping the four metacarpal bases leaves 21 in simple order (NIMBLE_model README).
NIMBLE_PARENTS = np.array([-1, 0, 1, 2, 3, 0, 5, 6, 7, 8, 0, 10, 11, 12, 13, 0, 15, 16, 17, 18, 0, 20, 21, 22, 23])
NIMBLE_TO_SIMPLE = np.array([0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24])
# The 20 joints that turn a bone, in the order of the pose vector's triples: all but the fingertips, root first
# (Li et al. 2022; NIMBLE_model).
NIMBLE_BONES = np.unique(NIMBLE_PARENTS[1:])

# x right, y up, z backward -> x right, y down, z forward: HO3D, H2O-3D and others write the former.
OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0])

# HandSynthesis' joints.json: wrist, index, middle, pinky, ring, thumb, each from base to tip -> simple order.
HANDSYNTHESIS_TO_SIMPLE = np.array(
    [0, 17, 18, 19, 20, 1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 16, 9, 10, 11, 12],
)
HANDSYNTHESIS_FOCAL = 355.0  # px, at any image size


class MaskLabel(IntEnum):
    """Classes of the `mask` column."""

    BACKGROUND = 0
    HAND = 1
    ARM = 2
    OBJECT = 3
    SECOND_HAND = 4


class Side(IntEnum):
    """Values of the `side` column."""

    RIGHT = 0
    LEFT = 1
