"""Labelled toy hands and the files that datasets keep them in: what the fixtures of all adapters are made from."""

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from handgap.core.config.imported import Imported
from handgap.core.conventions import MANO_TO_SIMPLE, Side
from handgap.core.geometry import project
from handgap.core.images import decode_rgb
from handgap.core.seeds import rng
from handgap.data.adapters.index import Index
from handgap.data.adapters.registry import open_adapter
from handgap.hands.annotation_hand import AnnotationHand
from handgap.ingest.shard import imported_columns
from PIL import Image
from scipy.spatial.transform import Rotation
from toys import draw_hand, toy_hand

SIMPLE_TO_MANO = np.argsort(MANO_TO_SIMPLE)
OPENGL = np.array([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Hands:
    """Hands in front of an OpenCV camera: what a dataset's labels must come out as.

    `pose` has the mean pose added; joints are regressed from the vertices (`joints`) or kinematic (`kinematic`).
    """

    side: Side
    pose: np.ndarray
    shape: np.ndarray
    trans: np.ndarray
    joints: np.ndarray
    kinematic: np.ndarray
    vertices: np.ndarray
    K: np.ndarray

    def __len__(self) -> int:
        return len(self.pose)


def models(folder: Path) -> dict[Side, AnnotationHand]:
    """A toy hand with a mean pose, and its mirror image."""
    path = folder / "toy.npz"
    toy_hand(path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["hands_mean"] = rng(0, "tests/datasets/mean").normal(0, 0.05, 45)
    np.savez(path, **arrays)
    hand = AnnotationHand.load(path)
    return {Side.RIGHT: hand, Side.LEFT: hand.mirrored()}


def make_hands(
    model: AnnotationHand,
    count: int,
    size: tuple[int, int] = (224, 224),
    seed: int = 0,
    K: np.ndarray | None = None,
) -> Hands:
    """Hands with bent fingers, turned any way within 0.6 rad, 0.6 m away from a camera of 1.5 widths or another one."""
    generator = rng(seed, "tests/datasets/hands", int(model.side))
    pose = np.zeros((count, 48))
    # fingers lie along x: a turn about y bends them towards the palm
    pose[:, 3:].reshape(count, 15, 3)[..., 1] = generator.uniform(0.2, 0.7, (count, 15))
    pose[:, 3:].reshape(count, 15, 3)[..., 0] = generator.uniform(-0.05, 0.05, (count, 15))
    if model.side is Side.LEFT:
        pose = (pose.reshape(count, 16, 3) * [1, -1, -1]).reshape(count, 48)
    pose[:, :3] = generator.uniform(-0.6, 0.6, (count, 3))
    shape = generator.normal(0, 0.5, (count, 10))
    middle = np.array([-0.08 if model.side is Side.RIGHT else 0.08, 0.0, 0.6])
    trans = generator.uniform(-0.02, 0.02, (count, 3)) + middle
    with torch.no_grad():
        posed = model(*(torch.from_numpy(values).float() for values in (pose, shape, trans)))
        joints = model.regress_joints(posed.vertices)
    width, height = size
    if K is None:
        K = np.array([[1.5 * width, 0, width / 2], [0, 1.5 * width, height / 2], [0, 0, 1]])
    arrays = (joints, posed.joints, posed.vertices)
    return Hands(model.side, pose, shape, trans, *(array.numpy().astype(np.float64) for array in arrays), K)


def picture(hands: Sequence[np.ndarray], K: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A drawing of hands' joints (21, 3)."""
    width, height = size
    canvas = np.full((height, width, 3), 30, np.uint8)
    for joints in hands:
        drawn = draw_hand(joints, K, max(size))[:height, :width]
        hand = np.ptp(drawn, axis=2) > 0
        canvas[hand] = drawn[hand]
    return Image.fromarray(canvas)


def turn(pose: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Poses (N, 48) with their global rotation seen from a frame turned by (3, 3)."""
    turned = pose.copy()
    turned[:, :3] = (Rotation.from_matrix(rotation) * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
    return turned


def shift(model: AnnotationHand, hands: Hands, rotation: np.ndarray) -> np.ndarray:
    """Translations (N, 3) of the hands in a frame turned by (3, 3): the model turns about its wrist."""
    with torch.no_grad():
        wrist = model.J_template[0] + torch.einsum(
            "cs,bs->bc", model.J_shapedirs[0], torch.from_numpy(hands.shape).float()
        )
    wrist = wrist.numpy().astype(np.float64)
    return (wrist + hands.trans) @ rotation.T - wrist


def save(path: Path, image: Image.Image, **options: object) -> None:
    """Write a picture, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def dump(path: Path, value: object) -> None:
    """Write a pickle as Python 2 and early versions of Python 3 did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol=2))


def png_bytes(array: np.ndarray) -> bytes:
    """A PNG of an array."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def inside(joints: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> float:
    """Share of joints (N, 21, 3) that project into a picture of (width, height)."""
    uv = project(joints, K)
    return float(((uv >= 0) & (uv <= size)).all(-1).mean())


def import_split(options: Imported, split: str, models: dict[Side, AnnotationHand], folder: Path) -> dict[str, object]:
    """All rows of a split, by way of its index."""
    adapter = open_adapter(options)
    path = folder / f"{split}.index"
    adapter.make_index(split, path)
    with Index(path) as index:
        rows = int(index.attrs["pictures"]) * len(adapter.hands)
        assert adapter.count(split) == rows
        got = imported_columns(adapter, split, index, range(rows), models)
    assert on_the_drawing(got) > 0.95
    return got


def on_the_drawing(columns: dict[str, object]) -> float:
    """Share of the joints of valid rows that project onto a coloured pixel of their picture: onto the drawn hand."""
    met = []
    for row in np.flatnonzero(columns["valid"]):
        rgb = decode_rgb(columns["image"][row]).astype(int)
        uv = np.floor(project(columns["joints"][row].astype(float), columns["K"][row].astype(float))).astype(int)
        inner = ((uv >= 0) & (uv < rgb.shape[1::-1])).all(1)
        pixels = rgb[uv[inner, 1], uv[inner, 0]]
        met += (np.ptp(pixels, axis=1) > 12).tolist()
    return float(np.mean(met)) if met else 1.0


def largest(got: np.ndarray, truth: np.ndarray) -> float:
    """Greatest difference."""
    assert got.shape == truth.shape, (got.shape, truth.shape)
    return float(np.abs(got - truth).max())
