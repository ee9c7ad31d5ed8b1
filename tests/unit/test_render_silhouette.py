"""Posed hands under random cameras: labels against Cycles' silhouette and against rays cast at every triangle.

More samples, with their figures printed: HANDGAP_COUNT=200 python -m pytest -s tests/unit/test_render_silhouette.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.conventions import MaskLabel
from handgap.core.geometry import random_rotation
from handgap.core.images import decode_depth, decode_mask, encode_depth, encode_mask
from handgap.core.seeds import rng
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.prior import PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.render.labels import label
from handgap.render.spec import MeshPart, PlainWorld, SceneSpec, SurfaceMaterial
from scipy.ndimage import binary_erosion, distance_transform_edt

pytest.importorskip("bpy", reason="Blender's Python module is not installed")
MODELS = Path(__file__).parents[2] / "results" / "models"
pytestmark = pytest.mark.skipif(
    not all((MODELS / name).exists() for name in ("open_nimble.npz", "open_mano.npz")),
    reason="needs results/models/open_{nimble,mano}.npz (snakemake makes them)",
)
COUNT = int(os.environ.get("HANDGAP_COUNT", "12"))
RAYS = 100  # a hand
BLACK = SurfaceMaterial((0.0, 0.0, 0.0), specular=0.0)


def camera(generator):
    """K with an off-centre principal point and oblong pixels, and a size, that see a hand at the distance returned."""
    width, height = (int(edge) for edge in generator.integers(96, 320, 2))
    fx, aspect, distance = generator.uniform(150, 600), generator.uniform(0.75, 1.33), generator.uniform(0.3, 0.9)
    centre = np.array([width, height]) * generator.uniform(0.3, 0.7, 2)
    return np.array([[fx, 0, centre[0]], [0, fx * aspect, centre[1]], [0, 0, 1]]), width, height, distance


@pytest.fixture(scope="module")
def hands():
    """Scenes of black hands in a white world, each with its joints."""
    hand, annotation = RenderHand.load(MODELS / "open_nimble.npz"), AnnotationHand.load(MODELS / "open_mano.npz")
    prior, made = PosePrior.load(MODELS / "open_nimble.npz"), []
    for k in range(COUNT):
        generator = rng(0, "tests/silhouette", k)
        K, width, height, distance = camera(generator)
        with torch.inference_mode():
            given = (prior.sample_pose(generator), prior.sample_shape(generator), np.zeros(3))
            skin = hand(*(torch.from_numpy(x).float()[None] for x in given)).vertices
            joints = annotation.regress_joints(hand.to_annotation(skin))[0].numpy()
        skin, turn = skin[0].numpy(), random_rotation(generator)
        middle = skin[hand.surface].mean(0)
        sight = np.linalg.inv(K) @ [*(np.array([width, height]) * generator.uniform(0.3, 0.7, 2)), 1.0]
        place = distance * sight - turn @ middle
        part = MeshPart("hand", skin @ turn.T + place, hand.faces, MaskLabel.HAND, BLACK)
        spec = SceneSpec(k, K, width, height, [part], PlainWorld((1.0, 1.0, 1.0)), seed=k)
        made.append((spec, joints @ turn.T + place))
    return made


def outline(mask):
    """Pixels of the mask beside others that are not in it; none for the image's own edge."""
    return mask & ~binary_erosion(mask, border_value=1)


def test_projected_vertices_and_the_rendered_mask_have_one_outline(hands):
    from handgap.render.worker import Renderer

    distances, overlaps = [], []
    with Renderer(None, samples=4, threads=1) as renderer:
        for spec, joints in hands:
            drawn = renderer.render(spec).mean(2) < 0.5
            labelled = decode_mask(encode_mask(label(spec, joints).mask)) == MaskLabel.HAND
            edges = [outline(drawn), outline(labelled)]
            found = [distance_transform_edt(~edges[1 - k])[edges[k]] for k in (0, 1)]
            distances.append(np.percentile(np.concatenate(found), 95))
            overlaps.append((drawn & labelled).sum() / (drawn | labelled).sum())
    print(f"\n{COUNT} silhouettes: 95th percentile of the distance, worst sample {max(distances):.2f} px;")
    print(f"IoU median {np.median(overlaps):.4f}, worst {min(overlaps):.4f}")
    assert max(distances) <= 1.0
    assert np.median(overlaps) > 0.97


def cast(vertices, faces, directions):
    """Depth (R,) along z of the nearest triangle hit by rays (R, 3) from the origin (Möller & Trumbore 1997)."""
    a, b, c = np.swapaxes(vertices[faces], 0, 1).astype(np.float64)
    depths = []
    for ray in directions:
        normal = np.cross(ray, c - a)
        determinant = ((b - a) * normal).sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = -(a * normal).sum(1) / determinant
            across = np.cross(-a, b - a)
            v, t = across @ ray / determinant, (across * (c - a)).sum(1) / determinant
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
        depths.append(t[hit].min() * ray[2] if hit.any() else 0.0)
    return np.array(depths)


def test_depth_is_what_rays_meet(hands):
    errors, stored, missed = [], [], 0
    for spec, joints in hands:
        depth = label(spec, joints).depth
        generator = rng(0, "tests/rays", spec.sample_id)
        seen = np.argwhere(depth > 0)
        y, x = seen[generator.integers(len(seen), size=RAYS)].T
        pixels = np.stack([x + 0.5, y + 0.5, np.ones(RAYS)], 1)
        truth = cast(spec.parts[0].vertices, spec.parts[0].faces, pixels @ np.linalg.inv(spec.K).T)
        missed += int((truth == 0).sum())
        errors.append(np.abs(depth[y, x] - truth)[truth > 0])
        stored.append(np.abs(decode_depth(encode_depth(depth))[y, x] - truth)[truth > 0])
    error, kept = 1000 * np.concatenate(errors), 1000 * np.concatenate(stored)
    print(f"\n{len(error)} rays: |depth error| median {np.median(error):.6f} mm, largest {error.max():.4f} mm;")
    print(f"as stored in whole millimetres median {np.median(kept):.3f} mm; {missed} rays missed")
    assert np.median(kept) <= 0.5 and np.percentile(error, 99) < 0.01
    assert missed <= 1e-3 * COUNT * RAYS
