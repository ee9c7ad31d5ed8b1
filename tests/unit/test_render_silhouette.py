"""Posed hands and things under random cameras: labels against Cycles' silhouettes and rays cast at every triangle.

More samples, with their figures printed: HANDGAP_COUNT=200 python -m pytest -s tests/unit/test_render_silhouette.py
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
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
BLACK, RED = (SurfaceMaterial((red, 0.0, 0.0), specular=0.0, roughness=1.0) for red in (0.0, 0.9))


def camera(generator):
    """K with an off-centre principal point and oblong pixels, and a size, that see a hand at the distance returned."""
    width, height = (int(edge) for edge in generator.integers(96, 320, 2))
    fx, aspect, distance = generator.uniform(150, 600), generator.uniform(0.75, 1.33), generator.uniform(0.3, 0.9)
    centre = np.array([width, height]) * generator.uniform(0.3, 0.7, 2)
    return np.array([[fx, 0, centre[0]], [0, fx * aspect, centre[1]], [0, 0, 1]]), width, height, distance


def thing(generator, middle, distance):
    """A convex red thing before, in or behind a hand."""
    mesh = (trimesh.creation.box, trimesh.creation.cylinder, trimesh.creation.icosphere)[generator.integers(3)]
    size = {} if mesh is trimesh.creation.box else {"radius": 0.5}
    size |= {"height": 1.0} if mesh is trimesh.creation.cylinder else {}
    shape = mesh(**size)
    edges = generator.uniform(0.03, 0.09, 3)
    place = middle + generator.uniform(-0.07, 0.07, 3) + [0.0, 0.0, generator.uniform(-0.4, 0.2) * distance]
    vertices = shape.vertices * edges @ random_rotation(generator).T + place
    return MeshPart("thing", vertices, shape.faces, MaskLabel.OBJECT, RED, smooth=False)


@pytest.fixture(scope="module")
def hands():
    """Scenes of black hands, most with a red thing, in a white world, each with the hand's joints."""
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
        parts = [MeshPart("hand", skin @ turn.T + place, hand.faces, MaskLabel.HAND, BLACK)]
        if k % 4:
            parts.append(thing(generator, distance * sight, distance))
        spec = SceneSpec(k, K, width, height, parts, PlainWorld((1.0, 1.0, 1.0)), seed=k)
        made.append((spec, joints @ turn.T + place))
    return made


def outline(mask):
    """Pixels of the mask beside others that are not in it; none for the image's own edge."""
    return mask & ~binary_erosion(mask, border_value=1)


def compare(drawn, labelled):
    """95th percentile of the distance between two masks' outlines, px, and their intersection over union."""
    edges = [outline(drawn), outline(labelled)]
    found = np.concatenate([distance_transform_edt(~edges[1 - k])[edges[k]] for k in (0, 1)])
    return np.percentile(found, 95) if len(found) else 0.0, (drawn & labelled).sum() / (drawn | labelled).sum()


def test_projected_vertices_and_the_rendered_mask_have_one_outline(hands):
    from handgap.render.worker import Renderer

    found = []
    with Renderer(None, samples=4, threads=1) as renderer:
        for spec, joints in hands:
            picture = renderer.render(spec)
            assert picture.shape == (spec.height, spec.width, 3)
            labels = decode_mask(encode_mask(label(spec, joints).mask))
            # what Cycles draws covers the white world, whose green neither the hand nor the thing has
            found.append(compare(picture[..., 1] < 0.5, labels > 0))
    distance, overlap = np.array(found).T
    print(f"\n{COUNT} silhouettes: 95th percentile of the distance, worst sample {distance.max():.2f} px;")
    print(f"IoU median {np.median(overlap):.4f}, worst {overlap.min():.4f}")
    assert distance.max() <= 1.0
    assert np.median(overlap) > 0.97


def test_classes_are_those_of_the_picture(hands):
    from handgap.render.worker import Renderer

    shares = []
    with Renderer(None, samples=4, threads=1) as renderer:
        for spec, joints in (hand for hand in hands if len(hand[0].parts) > 1):
            picture, labels = renderer.render(spec), label(spec, joints).mask
            drawn = np.where(
                picture[..., 1] > 0.5, 0, np.where(picture[..., 0] > 0.1, MaskLabel.OBJECT, MaskLabel.HAND)
            )
            edge = np.zeros(labels.shape, bool)  # pixels that Cycles mixes from two classes
            for value in np.unique(labels):
                edge |= outline(labels == value)
            shares.append((drawn == labels)[~edge].mean())
    print(f"\npixels off the outlines whose class is the picture's: worst of {len(shares)} scenes {min(shares):.4f}")
    assert min(shares) > 0.99


def cast(triangles, directions):
    """Depth (R,) along z where rays (R, 3) from the origin meet triangles (F, 3, 3) first (Möller & Trumbore 1997)."""
    a, b, c = np.swapaxes(triangles, 0, 1).astype(np.float64)
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
        triangles = np.concatenate([part.vertices[part.faces] for part in spec.parts])
        truth = cast(triangles, pixels @ np.linalg.inv(spec.K).T)
        missed += int((truth == 0).sum())
        errors.append(np.abs(depth[y, x] - truth)[truth > 0])
        stored.append(np.abs(decode_depth(encode_depth(depth))[y, x] - truth)[truth > 0])
    error, kept = 1000 * np.concatenate(errors), 1000 * np.concatenate(stored)
    print(f"\n{len(error)} rays: |depth error| median {np.median(error):.6f} mm, largest {error.max():.4f} mm;")
    print(f"as stored in whole millimetres median {np.median(kept):.3f} mm; {missed} rays missed")
    assert np.median(kept) <= 0.5 and np.percentile(error, 99) < 0.01
    assert missed <= 1e-3 * COUNT * RAYS
