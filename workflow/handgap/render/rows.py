"""What the rows of both domains have in common."""

import numpy as np

from handgap.core.conventions import N_JOINTS
from handgap.core.images import encode_depth, encode_mask, encode_rgb
from handgap.render.shard import Row

GREY = 118  # of the picture that stands in for one that cannot be drawn: middle grey in sRGB


def blank(size: int, flag: str) -> Row:
    """Image columns of a picture that cannot be drawn: middle grey, no labels, the reason."""
    nothing = np.zeros((size, size))
    return {
        "image": encode_rgb(np.full((size, size, 3), GREY, np.uint8)),
        "mask": encode_mask(nothing),
        "depth": encode_depth(nothing),
        "visibility": np.zeros(N_JOINTS, bool),
        "hdri": "",
        "skin": np.int64(-1),
        "valid": False,
        "flag": flag,
    }
