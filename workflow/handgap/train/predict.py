"""Predictions for the samples of a store, put back into the camera frame; and the mean hand, which looks at nothing."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from handgap.core.conventions import MIDDLE_MCP, N_ANNOTATION_VERTICES, N_JOINTS
from handgap.core.geometry import align_rigid, mirrored_left
from handgap.data.augment import training_sample
from handgap.data.samples import Samples
from handgap.networks.base import HandNetwork

FRAME = "camera, true root added"
BATCH = 32
GENERALISED_PROCRUSTES_ROUNDS = 10


def empty_predictions(n: int) -> dict[str, np.ndarray]:
    """Columns of n rows without a prediction: not a number."""
    return {
        "joints": np.full((n, N_JOINTS, 3), np.nan, np.float32),
        "vertices": np.full((n, N_ANNOTATION_VERTICES, 3), np.nan, np.float32),
    }


def to_camera(points: Tensor, root: Tensor, rotation: Tensor) -> Tensor:
    """Undo a crop: points relative to joint 9 in the crop's frame -> camera frame, left hands as left hands again.

    Args:
        points: (B, P, 3) metres.
        root: (B, 3) joint 9 in the crop's frame.
        rotation: (B, 3, 3) camera frame -> crop's frame.
    """
    return (points + root[:, None]) @ rotation


@torch.inference_mode()
def predict(
    network: HandNetwork, samples: Samples, image_size: int, box_expansion: float
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Predict all valid samples, a batch at a time.

    The crop is the fixed one of evaluation: around the projected true joints, nothing drawn. Predictions are relative
    to joint 9; they are turned back into the camera frame and moved to the true joint 9.

    Args:
        network: in evaluation mode.
        samples: images and labels.
        image_size: edge of the network's input, px.
        box_expansion: edge of the crop over that of the tight square around the joints.

    Yields:
        Rows (B,), and their ``joints`` (B, 21, 3) and ``vertices`` (B, 778, 3): metres, camera frame.
    """
    rows = np.flatnonzero(samples.valid)
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        inputs = [training_sample(samples[row], image_size, box_expansion) for row in part]
        batch = {
            name: torch.from_numpy(np.stack([item[name] for item in inputs]))
            for name in ("image", "K", "rotation", "root")
        }
        prediction = network(batch["image"], batch["K"])
        root, rotation = batch["root"], batch["rotation"]
        yield (
            part,
            {
                "joints": to_camera(prediction.joints, root, rotation).numpy(),
                "vertices": to_camera(prediction.vertices, root, rotation).numpy(),
            },
        )


def mean_hand(joints: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Generalised Procrustes mean of hands (Gower 1975), without scaling, in their mean orientation.

    Args:
        joints: (N, 21, 3) metres.
        vertices: (N, 778, 3) metres.

    Returns:
        (799, 3) metres: 21 joints, then 778 vertices, relative to joint 9.
    """
    points = np.concatenate([joints, vertices], 1).astype(np.float64)
    points -= points[:, MIDDLE_MCP : MIDDLE_MCP + 1]
    mean = points[0]
    for _ in range(GENERALISED_PROCRUSTES_ROUNDS):
        rotation, shift = align_rigid(points, np.broadcast_to(mean, points.shape))
        mean = (points @ rotation.transpose(0, 2, 1) + shift[:, None]).mean(0)
    # chordal mean of the rotations from the mean hand to each hand
    u, _, vt = np.linalg.svd(rotation.transpose(0, 2, 1).mean(0))
    orientation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    mean = mean @ orientation.T
    return mean - mean[MIDDLE_MCP]


def predict_mean_hand(train: Samples, samples: Samples) -> dict[str, np.ndarray]:
    """The mean training hand at the true joint 9 of every valid sample; mirrored for left hands.

    Returns:
        ``joints`` (N, 21, 3) and ``vertices`` (N, 778, 3): metres, camera frame.
    """
    side = train.labels("side")[train.valid]
    mean = mean_hand(*(mirrored_left(train.labels(name)[train.valid], side) for name in ("joints", "vertices")))
    points = mirrored_left(mean, samples.labels("side")) + samples.labels("joints")[:, MIDDLE_MCP : MIDDLE_MCP + 1]
    columns = empty_predictions(len(samples))
    columns["joints"][samples.valid] = points[samples.valid, :N_JOINTS]
    columns["vertices"][samples.valid] = points[samples.valid, N_JOINTS:]
    return columns
