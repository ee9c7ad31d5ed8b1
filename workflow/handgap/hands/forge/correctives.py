"""Corrective blend shapes of the open hands: what linear blend skinning takes from a bent finger is given back.

Skinning by a mean of matrices draws a bent joint in (Lewis et al. 2000). Here each joint has a reference: on the back
of the finger a vertex turns about the joint by its own share of the rotation, which keeps its distance from the joint
(as dual quaternions do: Kavan et al. 2007); on the palm's side flesh is pushed out until most of the lost volume is
back. The difference is regressed on the entries of R - I, NIMBLE's and MANO's pose features.
"""

import numpy as np
from scipy import sparse
from scipy.spatial.transform import Rotation

from handgap.core.conventions import NIMBLE_BONES
from handgap.core.geometry import rodrigues
from handgap.hands import mesh
from handgap.hands.prior import CHAINS, FLEXION_LIMITS, PRONATION_LIMITS, SPREAD_LIMITS, THUMB

N_SAMPLES = 48
# shares of the dual quaternion's bend and of the lost volume that are given back: all of it looks swollen
BEND_SHARE, VOLUME_SHARE = 0.8, 0.8
# the flesh's push: relative size away from the palm's side, and rounds of smoothing over the mesh of extent and vectors
_SIDE_PUSH = 0.25
_EXTENT_ROUNDS, _VECTOR_ROUNDS = 40, 8
_EXTENT_CUT = 0.02
# degrees about any axis added to each sample, so that the regression is defined for every rotation
_JITTER = 6.0
_RIDGE = 1e-3


def pose_correctives(
    vertices: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    joints: np.ndarray,
    axes: np.ndarray,
    rest_angles: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """Blend shapes of the render hand, zero but near the joint that drives them.

    Args:
        vertices, faces: (V, 3) mean shape and (F, 3) of its closed mesh, metres.
        weights: (V, J) skin weights.
        joints: (25, 3) rest joints.
        axes, rest_angles: `joint_axes` (25, 3, 3) and `rest_angles` (25, 2) of the pose prior.
        generator: of the sampled rotations.

    Returns:
        (V, 3, 171): metres per entry of R - I (row-major) of `NIMBLE_BONES` below the root; zero for metacarpals.
    """
    smooth = _averaging(faces, len(vertices))
    normals = mesh.vertex_normals(vertices, faces)
    features = np.zeros((len(vertices), 3, len(NIMBLE_BONES) - 1, 9))
    for finger, chain in enumerate(CHAINS):
        for place, joint in enumerate(chain):
            rotations = _rotations(finger, place, axes[joint], rest_angles[joint], generator)
            share = weights[:, joint : chain[-1] + 2].sum(1)
            palmar = normals @ axes[joint, 1]
            near, moves = _reference(vertices - joints[joint], faces, share, palmar, normals, smooth, rotations)
            design = (rotations - np.eye(3)).reshape(N_SAMPLES, 9)
            gram = design.T @ design + _RIDGE * N_SAMPLES * np.eye(9)
            solution = np.linalg.solve(gram, design.T @ moves.reshape(N_SAMPLES, -1))
            bone = np.searchsorted(NIMBLE_BONES, joint) - 1
            features[near, :, bone] = solution.reshape(9, -1, 3).transpose(1, 2, 0)
    return features.reshape(len(vertices), 3, -1)


def _averaging(faces: np.ndarray, n_vertices: int) -> sparse.csr_matrix:
    """Matrix (V, V) that moves each vertex' value half way to the mean of its neighbours'."""
    pairs = np.concatenate([faces, np.roll(faces, -1, 1)], 1).reshape(-1, 2, 3).transpose(0, 2, 1).reshape(-1, 2)
    links = sparse.csr_matrix((np.ones(len(pairs)), pairs.T), (n_vertices, n_vertices))
    links = ((links + links.T) > 0).astype(float)
    return 0.5 * (sparse.identity(n_vertices) + sparse.diags(1.0 / np.maximum(links.sum(1).A1, 1.0)) @ links).tocsr()


def _rotations(
    finger: int, place: int, axes: np.ndarray, rest: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Rotations (N, 3, 3) of one joint over its limits."""
    flexion = np.linspace(*FLEXION_LIMITS[finger, place], N_SAMPLES) - rest[0]
    turns = rodrigues(np.radians(flexion)[:, None] * axes[0])
    if place == 0:
        spread = generator.uniform(*SPREAD_LIMITS[finger], N_SAMPLES)
        turns = rodrigues(np.radians(spread)[:, None] * axes[1]) @ turns
        if finger == THUMB:
            turns = turns @ rodrigues(np.radians(generator.uniform(*PRONATION_LIMITS, N_SAMPLES))[:, None] * axes[2])
    return turns @ rodrigues(np.radians(generator.normal(0, _JITTER, (N_SAMPLES, 3))))


def _reference(
    vertices: np.ndarray,
    faces: np.ndarray,
    share: np.ndarray,
    palmar: np.ndarray,
    normals: np.ndarray,
    smooth: sparse.csr_matrix,
    rotations: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Moves of the rest vertices that take linear blend skinning of one joint to its reference.

    Args:
        vertices: (V, 3) from the joint.
        share: (V,) of the joint's rotation that each vertex follows.
        palmar: (V,) cosine between a vertex' normal and the palm's side of the finger.
        smooth: from `_averaging`.
        rotations: (N, 3, 3).

    Returns:
        Ids (M,) of the vertices that move, and moves (N, M, 3).
    """
    blend = 4.0 * share * (1.0 - share)
    extent = blend
    for _ in range(_EXTENT_ROUNDS):
        extent = smooth @ extent
    extent = np.maximum(extent / extent.max() - _EXTENT_CUT, 0.0)
    push = (extent * (_SIDE_PUSH + (1.0 - _SIDE_PUSH) * np.maximum(palmar, 0.0)))[:, None] * normals
    for _ in range(_VECTOR_ROUNDS):
        push = smooth @ push
    near = np.flatnonzero((blend > 1e-3) | push.any(1))
    touched = faces[np.isin(faces, near).any(1)]

    points, part = vertices[near], share[near, None, None]
    vectors = Rotation.from_matrix(rotations).as_rotvec()
    turned = rodrigues((vectors[:, None] * share[near, None]).reshape(-1, 3)).reshape(len(rotations), -1, 3, 3)
    mixed = (1.0 - part) * np.eye(3) + part * rotations[:, None]
    bent = np.linalg.solve(mixed, turned @ points[..., None])[..., 0] - points
    bent *= BEND_SHARE * (1.0 - palmar[near, None]) / 2.0

    posed = vertices + share[:, None] * (vertices @ (np.swapaxes(rotations, 1, 2) - np.eye(3)))
    at_rest = _volumes(vertices[None], touched)
    amount, step = np.zeros(len(rotations)), 1e-4

    def excess(size: np.ndarray) -> np.ndarray:
        """Volume (N,) gained since rest, for an amount of push (N,)."""
        moved = points + bent + size[:, None, None] * push[near]
        posed[:, near] = (mixed @ moved[..., None])[..., 0]
        return _volumes(posed, touched) - at_rest

    for _ in range(4):  # Newton: the volume is a cubic, nearly linear in the amount
        now = excess(amount)
        amount = amount - now * step / (excess(amount + step) - now)
    return near, bent + VOLUME_SHARE * amount[:, None, None] * push[near]


def _volumes(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Volumes (N,) of the cones from the origin over the faces of N meshes (N, V, 3)."""
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    return np.einsum("nfc,nfc->n", a, np.cross(b, c)) / 6.0
