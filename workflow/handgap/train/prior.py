"""Training the occlusion prior: hands to learn, the loop, the file; and refining predictions with it.

A run is minutes long at any size (the network is a small MLP), so it keeps no state: killed, it starts again, and its
file is there whole or not at all.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from handgap.core.config.prior import Prior
from handgap.core.conventions import WRIST
from handgap.core.errors import ConfigError, CorruptFileError
from handgap.core.geometry import mirrored_left, random_rotation
from handgap.core.progress import track
from handgap.core.seeds import integer_seed, rng
from handgap.core.store import ShardedStore
from handgap.hands.annotation_hand import AnnotationHand
from handgap.networks.occlusion_prior import OcclusionPrior, mask_joints, prior_loss
from handgap.train.model_file import CURE, read_torch, write_torch

KIND = "occlusion prior"
BLOCK = 1024  # hands posed or refined at once
N_POSE, N_SHAPE = 45, 10


def labelled_hands(store: ShardedStore) -> np.ndarray:
    """Joints (N, 21, 3) of the valid samples relative to the wrist, metres, all as right hands."""
    valid = store.column("valid").astype(bool)
    joints = mirrored_left(store.column("joints")[valid], store.column("side")[valid])
    return joints - joints[:, WRIST : WRIST + 1]


@torch.inference_mode()
def drawn_hands(hand: AnnotationHand, count: int, seed: int) -> np.ndarray:
    """Joints (count, 21, 3) of random hands relative to the wrist, metres: a hand model has no lack of poses and views.

    Pose and shape components are standard normal, the orientation is uniform.
    """
    drawn = []
    for start in range(0, count, BLOCK):
        generator = rng(seed, "train/prior/hands", start)
        size = min(BLOCK, count - start)
        pose, shape = (torch.from_numpy(generator.normal(size=(size, n))).float() for n in (N_POSE, N_SHAPE))
        fingers = hand.pose_from_components(pose)
        still = fingers.new_zeros(size, 3)
        joints = hand.regress_joints(hand(torch.cat([still, fingers], 1), shape, still).vertices).numpy()
        turns = np.stack([random_rotation(generator) for _ in range(size)]).astype(np.float32)
        joints = mirrored_left(joints, np.full(size, hand.side)) @ turns.transpose(0, 2, 1)
        drawn.append(joints - joints[:, WRIST : WRIST + 1])
    return np.concatenate([np.zeros((0, 21, 3), np.float32), *drawn])


def turned_in_plane(joints: Tensor, settings: Prior, generator: torch.Generator) -> Tensor:
    """A share of the hands (B, 21, 3) turned about the camera's axis by a clipped normal angle."""
    count = len(joints)
    limit = settings.rotation_limit_deg
    angle = (torch.randn(count, generator=generator) * settings.rotation_std_deg).clamp(-limit, limit).deg2rad()
    angle = angle * (torch.rand(count, generator=generator) < settings.rotation_ratio)
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros(count), torch.ones(count)
    turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(count, 3, 3)
    return joints @ turn.transpose(1, 2)


def train_prior(joints: np.ndarray, settings: Prior, seed: int) -> tuple[OcclusionPrior, list[dict[str, float]]]:
    """Train from scratch.

    Args:
        joints: (N, 21, 3) metres, right hands, camera frame, relative to the wrist.
        settings: of the prior.
        seed: of the initialisation and everything drawn.

    Returns:
        The prior in evaluation mode; per epoch ``epoch``, ``loss`` and its terms, averaged over the hands.

    Raises:
        ConfigError: there are no hands.
    """
    if not len(joints):
        raise ConfigError("prior", "no hand to learn from", "name datasets with valid training samples, or draw hands")
    torch.manual_seed(integer_seed(seed, "train/prior/initialisation"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = OcclusionPrior(settings.frame).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    data, curves = torch.from_numpy(joints).float(), []
    batches = ceil(len(data) / settings.batch)
    for epoch in track(range(settings.epochs), settings.epochs, "training epoch"):
        generator = torch.Generator().manual_seed(integer_seed(seed, "train/prior/epoch", epoch))
        sums: dict[str, float] = {}
        for rows in torch.randperm(len(data), generator=generator).chunk(batches):
            truth, _ = network.framed(turned_in_plane(data[rows], settings, generator))
            seen = mask_joints(truth, settings.mask_ratio, generator)
            loss, terms = prior_loss(network(seen.to(device)), truth.to(device), settings.kl_weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for name, term in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(term.detach()) * len(rows) / len(data)
        curves.append({"epoch": epoch + 1, **sums})
    return network.cpu().eval(), curves


def save_prior(path: Path, prior: OcclusionPrior, settings: Prior, provenance: dict[str, object]) -> None:
    """Write a trained prior, whole or not at all.

    Raises:
        DiskFullError: no room left.
    """
    settings_of = settings.model_dump(mode="json")
    write_torch(path, {"kind": KIND, "settings": settings_of, "provenance": provenance, "weights": prior.state_dict()})


def load_prior(path: Path) -> tuple[OcclusionPrior, dict]:
    """Read a trained prior: in evaluation mode, and its provenance.

    Raises:
        MissingAssetError: no such file.
        CorruptFileError: the file is no prior.
    """
    content = read_torch(path)
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise CorruptFileError(path, "not an occlusion prior", CURE)
    try:
        prior = OcclusionPrior(content["settings"]["frame"])
        prior.load_state_dict(content["weights"])
    except (RuntimeError, KeyError) as error:
        raise CorruptFileError(path, f"weights of another network ({error})", CURE) from error
    return prior.eval(), content["provenance"]


@torch.inference_mode()
def refine(prior: OcclusionPrior, joints: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Predicted joints, put where the prior has them.

    Args:
        prior: in evaluation mode.
        joints: (N, 21, 3) metres, camera frame.
        side: (N,) `conventions.Side`; the prior knows right hands.
    """
    right = torch.from_numpy(mirrored_left(joints, side)).float()
    refined = [prior.refine(part) for part in right.split(BLOCK)]
    return mirrored_left(torch.cat(refined).numpy(), side)


def matching_rows(path: Path, ids: np.ndarray, known: np.ndarray) -> Sequence[int]:
    """Row in `known` (M,) of each of the ids (N,).

    Raises:
        CorruptFileError: one is not there.
    """
    rows = {int(sample): row for row, sample in enumerate(known)}
    if missing := [int(sample) for sample in ids if int(sample) not in rows]:
        raise CorruptFileError(path, f"no sample {missing[0]} in the shards given", "give the shards it was made for")
    return [rows[int(sample)] for sample in ids]
