"""Stores with every column that the formats of others take, of posed toy hands."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from handgap.core.conventions import MaskLabel, Side
from handgap.core.geometry import project
from handgap.core.images import encode_depth, encode_jpeg, encode_mask, encode_rgb
from handgap.core.seeds import rng
from handgap.core.store import write_store
from handgap.hands.annotation_hand import AnnotationHand
from toys import draw_hand, toy_hand

WIDTH, HEIGHT = 96, 80
TURN = np.array([1.0, -1.0, -1.0])


def meaning_hand(path: Path) -> AnnotationHand:
    """A toy hand whose mean pose is not the flat one."""
    toy_hand(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"hands_mean": rng(0, "tests/mean").normal(0, 0.2, 45)})
    return AnnotationHand.load(path)


def hands(hand: AnnotationHand, ids: Sequence[int], *, left: Sequence[int] = (), invalid: Sequence[int] = ()) -> dict:
    """Columns of one hand a sample; those of `left` are the mirror images of right hands of the same id."""
    rows = [_row(hand, number, number in left) for number in ids]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for name in set(columns) - {"image", "mask", "depth", "hdri"}:
        columns[name] = np.stack(columns[name])
    valid = np.array([number not in invalid for number in ids])
    for name in ("joints", "vertices"):
        columns[name][~valid] = np.nan
    flags = {"valid": valid, "flag": ["" if good else "out of the image" for good in valid]}
    return {"id": np.array(ids, np.int64), **columns, **flags}


def _row(hand: AnnotationHand, number: int, left: bool) -> dict[str, object]:
    generator = rng(0, "tests/labelled_hands", number)
    pose = np.concatenate([[np.pi, 0, 0], np.zeros(45)]) + np.concatenate(
        [generator.uniform(-0.5, 0.5, 3), generator.normal(0, 0.3, 45)]
    )
    shape, trans = generator.normal(0, 1, 10), np.array([-0.09, *generator.uniform(-0.02, 0.02, 1), 0.5])
    if left:
        pose, trans, hand = (pose.reshape(-1, 3) * TURN).reshape(-1), trans * [-1, 1, 1], hand.mirrored()
    posed = hand(*(torch.as_tensor(value[None], dtype=torch.float32) for value in (pose, shape, trans)))
    joints, vertices = posed.joints[0].numpy(), posed.vertices[0].numpy()
    K = np.array([[150.0, 0, 50.0 + number], [0, 160.0, 38.0], [0, 0, 1]], np.float32)
    picture = draw_hand(joints, K, max(WIDTH, HEIGHT))[:HEIGHT, :WIDTH]
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[60:] = MaskLabel.ARM
    cv2.fillConvexPoly(mask, cv2.convexHull(project(joints, K).astype(np.int32)), int(MaskLabel.HAND))
    mask[:, 40:44] = MaskLabel.OBJECT
    return {
        "image": encode_jpeg(picture, 90) if number % 2 else encode_rgb(picture),
        "mask": encode_mask(mask),
        "depth": encode_depth(np.where(mask == MaskLabel.HAND, 0.5, 0.0)),
        "K": K,
        "joints": joints,
        "vertices": vertices,
        "pose": pose.astype(np.float32),
        "shape": shape.astype(np.float32),
        "trans": trans.astype(np.float32),
        "side": np.uint8(Side.LEFT if left else Side.RIGHT),
        "visibility": generator.random(21) < 0.7,
        "hdri": "hdri_bpy/city",
        "residual_mm": np.float32(0.5),
    }


def write_hands(path: Path, columns: dict, **attributes: str) -> Path:
    """A shard of them."""
    provenance = {"study": "toy", "seed": 7, "code": "c0de", "config": "c0f", "parents": ["ab" * 32]}
    write_store(path, columns, **provenance, extra=attributes)
    return path
