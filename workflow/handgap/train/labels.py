"""Labels in the render hand's definition of joints, for the study of what a wrong topology costs.

The paper trains on NIMBLE's joints and tests on MANO's (HandSynthesis, CVPR 2025: 1.02 becomes 1.28 cm). The
best-supported reading changes the training labels alone: of NIMBLE's 25 joints, the 21 that are left without the bases
of the four metacarpals stand in the place of MANO's, in 3D and in 2D; joint 9 and the crop are theirs too. The mesh
stays the annotation hand's, and so do the networks: one that regresses its joints from its mesh (S2HAND, simpleHand,
METRO's and MeshGraphormer's second term) is pulled towards both, one whose joints are its own (their first term, CMR's
maps) learns the other joints. Validation looks at these labels; predictions and tests never do.
"""

from pathlib import Path

import numpy as np
import torch

from handgap.core.errors import CorruptFileError
from handgap.core.files import read_arrays
from handgap.core.geometry import mirrored_left
from handgap.data.samples import Samples
from handgap.hands.render_hand import RenderHand

PARAMETERS = ("render_pose", "render_shape", "render_trans")
PER_VERTEX = ("v_template", "shapedirs", "weights")
CHUNK = 4096  # hands posed at once


def nimble_joints(samples: Samples, render_hand: Path) -> np.ndarray:
    """The anatomical joints of the render hand that each sample was fitted with or rendered from.

    Args:
        samples: shards with the columns render_pose, render_shape and render_trans; those of left hands are of the
            mirrored hand, as the fit stage leaves them.
        render_hand: the model (`.npz`).

    Returns:
        (N, 21, 3) float32, metres, camera frame, simple order.

    Raises:
        MissingAssetError, CorruptFileError: see `core.files.read_arrays`.
        CorruptFileError: a column is missing, or of another model.
    """
    arrays = read_arrays(render_hand, ("J_template", "J_shapedirs", *PER_VERTEX))
    # joints do not depend on vertices: posing one of them is enough
    one = {name: arrays[name][:1] for name in (*PER_VERTEX, "posedirs") if name in arrays}
    hand = RenderHand({name: values for name, values in (arrays | one).items() if name != "part_sizes"})
    pose, shape, trans = (torch.from_numpy(samples.labels(name)).float() for name in PARAMETERS)
    if (pose.shape[1], shape.shape[1]) != (hand.n_pose, hand.n_shape):
        problem = f"{hand.n_pose} pose and {hand.n_shape} shape parameters, the samples have {tuple(pose.shape[1:])}"
        raise CorruptFileError(render_hand, f"{problem} and {tuple(shape.shape[1:])}", "give the hand they came from")
    with torch.inference_mode():
        parts = [
            hand(*(values[start : start + CHUNK] for values in (pose, shape, trans))).joints21
            for start in range(0, len(pose), CHUNK)
        ]
    return mirrored_left(torch.cat(parts).numpy(), samples.labels("side"))
