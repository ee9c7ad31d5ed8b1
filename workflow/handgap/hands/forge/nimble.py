"""OpenNimble: the render hand, a subdivided skin with 25 joints (NIMBLE order), a forearm and a shape space."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from handgap.core.conventions import NIMBLE_PARENTS
from handgap.core.geometry import align_rigid
from handgap.core.seeds import rng
from handgap.hands import mesh
from handgap.hands.forge.source import SourceHand, average_weights, random_weights
from handgap.hands.forge.uv import Atlas, build_atlas
from handgap.hands.prior import CHAINS, THUMB

STUMP_DISTANCE = 0.028  # NIMBLE's skin ends 27-28 mm behind the wrist
ELBOW_DISTANCE = 0.215
# a knuckle's depth as a share of the hand's thickness there
KNUCKLE_DEPTH = 0.4
# half the length of the piece of finger whose skin tells where its middle is
_SECTION = 0.003
N_SHAPE = 20
N_SAMPLES = 200
FOREARM = 25
PARENTS = np.append(NIMBLE_PARENTS, 0)
_MCP_INDEX, _MCP_MIDDLE, _MCP_PINKY = 6, 11, 21
# joints that move with the palm as a whole: where the frame of a sample is taken from
_PALM_JOINTS = [0, 1, 5, 6, 10, 11, 15, 16, 20, 21]


@dataclass
class Skin:
    """Topology of the render hand and what every vertex is made of.

    Vertices are ordered: hand and wrist ring, centre of the wrist cap, forearm, centre of the elbow cap.
    """

    vertices: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    quads_hand: np.ndarray
    faces_stump: np.ndarray
    faces_forearm: np.ndarray
    arm_faces: np.ndarray
    n_hand: int
    atlas: Atlas
    samples: np.ndarray
    joint_samples: np.ndarray


def palm_frame(joints: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) whose rows are the axes of a right hand's rest frame.

    x points to the little finger's side, y along the middle metacarpal, z out of the back of the hand.
    """
    along = joints[_MCP_MIDDLE] - joints[0]
    y = along / np.linalg.norm(along)
    across = joints[_MCP_PINKY] - joints[_MCP_INDEX]
    x = across - (across @ y) * y
    x /= np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)])


def ring_at(
    quads: np.ndarray, vertices: np.ndarray, origin: np.ndarray, axis: np.ndarray, distance: float
) -> list[int]:
    """The edge loop round the arm whose mean distance from `origin` along the unit `axis` is nearest to `distance`."""
    along = (vertices - origin) @ axis
    edges = np.unique(np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1), axis=0)
    near = edges[(np.abs(along[edges] - distance) < 0.02).all(1)]
    faces_at = mesh.faces_at_vertices(quads)
    loops = [loop for edge in near.tolist() if (loop := mesh.edge_loop(faces_at, tuple(edge)))]
    return min(loops, key=lambda loop: (abs(along[loop].mean() - distance), loop))


def centred_joints(
    vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, samples: np.ndarray, joint_samples: np.ndarray
) -> np.ndarray:
    """Joints (N, 25, 3) of samples, those that fingers bend about moved from under the skin of the back to mid-depth.

    MakeHuman's bones run 3-4 mm under the back of the fingers. A finger that bends about them loses half of its
    section; MANO's joints, like a human's, lie deeper. Each moves along the line through finger or knuckle only, in
    proportion to the skin vertices at the line's two ends.

    Args:
        vertices, weights, joints: (V, 3), (V, J) and (25, 3) of the average adult's render hand.
        samples, joint_samples: (N, V, 3) and (N, 25, 3).
    """
    centred = joint_samples.copy()
    for finger, chain in enumerate(CHAINS):
        digit = weights[:, chain[0] : chain[-1] + 2].sum(1) > 0.5
        for joint in chain[finger == THUMB :]:
            offset = vertices - joints[joint]
            knuckle = joint == chain[0]
            near = (np.linalg.norm(offset, axis=1) < 0.03) & (knuckle | digit)
            inward, share = np.array([0.0, 0.0, -1.0]), KNUCKLE_DEPTH
            if not knuckle:
                bone = joints[joint + 1] - joints[joint - 1]
                bone /= np.linalg.norm(bone)
                middle = offset[near & (np.abs(offset @ bone) < _SECTION)].mean(0)
                inward, share = middle - (middle @ bone) * bone, 0.5
                inward /= np.linalg.norm(inward)
            depth = offset @ inward
            beside = np.linalg.norm(offset - depth[:, None] * inward, axis=1)
            column = np.flatnonzero(near & (beside < _SECTION))
            back, front = (samples[:, column[end(depth[column])]] for end in (np.argmin, np.argmax))
            shift = ((1.0 - share) * back + share * front - joint_samples[:, joint]) @ inward
            centred[:, joint] += shift[:, None] * inward
    return centred


def _flatten(vertices: np.ndarray, ring: list[int]) -> np.ndarray:
    """Displacements (V, 3) that bring a ring onto its own mean plane."""
    points = vertices[ring]
    normal = np.linalg.svd(points - points.mean(0))[2][2]
    moves = np.zeros_like(vertices)
    moves[ring] = -((points - points.mean(0)) @ normal)[:, None] * normal
    return moves


def _cap(faces: np.ndarray, centre: int) -> np.ndarray:
    """Fan (B, 3) that closes a mesh's one boundary loop at a centre vertex."""
    loop = mesh.boundary_loop(faces)
    return np.stack([np.roll(loop, -1), loop, np.full(len(loop), centre)], 1)


def build_skin(source: SourceHand, seed: int) -> Skin:
    """Subdivide, cut at wrist and elbow, close, and sample adults of the source's shape space."""
    fine = mesh.subdivide_quads(source.quads, len(source.vertices), smooth=True)
    fine_uv = mesh.subdivide_quads(source.uv_quads, len(source.uv), smooth=False)
    average, joints = (part[0] for part in source.blend([average_weights()]))
    frame = palm_frame(joints)
    average, joints = (fine.matrix @ average - joints[0]) @ frame.T, (joints - joints[0]) @ frame.T
    weights = fine.matrix @ source.weights

    arm = average[weights[:, FOREARM] > 0.99].mean(0)
    wrist, elbow = (
        ring_at(fine.quads, average, joints[0], arm / np.linalg.norm(arm), distance)
        for distance in (STUMP_DISTANCE, ELBOW_DISTANCE)
    )
    flat = _flatten(average, wrist) + _flatten(average, elbow)
    average = average + flat
    fingertip = int(np.argmax(average[fine.quads].mean(1)[:, 1]))
    hand = mesh.flood_faces(fine.quads, fingertip, [wrist])
    forearm = mesh.flood_faces(fine.quads, fingertip, [elbow]) & ~hand

    hand_ids = np.unique(fine.quads[hand])
    arm_ids = np.setdiff1d(fine.quads[forearm], hand_ids)
    n_hand = len(hand_ids)
    order = np.concatenate([hand_ids, wrist[:1], arm_ids, elbow[:1]])
    number = np.full(len(average), -1)
    number[hand_ids], number[arm_ids] = np.arange(n_hand), n_hand + 1 + np.arange(len(arm_ids))
    wrist_centre, elbow_centre = n_hand, len(order) - 1

    def gather(points: np.ndarray) -> np.ndarray:
        """Fine vertices -> render vertices, cap centres in the middle of their rings."""
        out = points[order]
        out[wrist_centre], out[elbow_centre] = points[wrist].mean(0), points[elbow].mean(0)
        return out

    vertices = gather(average)
    quads = number[fine.quads]
    shell, shell_uv = mesh.triangulate(quads[hand | forearm], vertices, fine_uv.quads[hand | forearm])
    of_hand = np.repeat(hand[hand | forearm], 2)
    stump_cap = _cap(shell[of_hand], wrist_centre)
    elbow_cap = _cap(shell, elbow_centre)
    atlas = build_atlas(fine_uv.matrix @ source.uv, shell_uv, of_hand, shell, stump_cap, elbow_cap)

    people = [random_weights(rng(seed, "hands/forge/shape", k)) for k in range(N_SAMPLES)]
    points, marks = source.blend(people)
    points, marks = points - marks[:, :1], marks - marks[:, :1]
    rotation, _ = align_rigid(marks[:, _PALM_JOINTS], np.repeat(joints[None, _PALM_JOINTS], N_SAMPLES, 0))
    samples = [gather(fine.matrix @ (person @ turn.T) + flat) for person, turn in zip(points, rotation, strict=True)]
    skin_weights = gather(weights)
    samples = np.stack([vertices, *samples])
    marks = np.concatenate([joints[None], marks @ np.swapaxes(rotation, 1, 2)])
    marks = centred_joints(vertices, skin_weights, joints, samples, marks)
    return Skin(
        vertices=vertices,
        joints=marks[0],
        weights=skin_weights / skin_weights.sum(1, keepdims=True),
        quads_hand=quads[hand],
        faces_stump=np.concatenate([shell[of_hand], stump_cap]),
        faces_forearm=np.concatenate([shell[of_hand], shell[~of_hand], elbow_cap]),
        arm_faces=np.arange(len(shell) + len(elbow_cap)) >= of_hand.sum(),
        n_hand=n_hand,
        atlas=atlas,
        samples=samples[1:],
        joint_samples=marks[1:],
    )


def shape_space(samples: np.ndarray, n_hand: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (V, 3) and directions (V, 3, S), metres per standard deviation, of the hand's variation.

    The principal axes are those of the hand's vertices; the forearm follows by regression.
    """
    mean = samples.mean(0)
    centred = (samples - mean).reshape(len(samples), -1)
    of_hand = centred[:, : 3 * n_hand]
    left, _, right = np.linalg.svd(of_hand, full_matrices=False)
    sign = np.sign(right[np.arange(N_SHAPE), np.abs(right[:N_SHAPE]).argmax(1)])
    scores = left[:, :N_SHAPE] * sign * np.sqrt(len(samples))
    return mean, (centred.T @ scores / len(samples)).reshape(*mean.shape, N_SHAPE)


def joint_regressor(
    vertices: np.ndarray, samples: np.ndarray, joint_samples: np.ndarray, candidates: np.ndarray, nearest: int
) -> np.ndarray:
    """Non-negative rows summing to one that give each joint from its nearest vertices (Lawson & Hanson NNLS).

    Args:
        vertices: (V, 3) mean shape.
        samples, joint_samples: (N, V, 3) and (N, J, 3) of the shapes to agree with.
        candidates: ids of the vertices that may be used.
        nearest: how many of them a joint may draw on.

    Returns:
        (J, V).
    """
    regressor = np.zeros((joint_samples.shape[1], len(vertices)))
    for joint, positions in enumerate(joint_samples.transpose(1, 0, 2)):
        distance = np.linalg.norm(vertices[candidates] - positions.mean(0), axis=1)
        chosen = candidates[np.argsort(distance, kind="stable")[:nearest]]
        design = samples[:, chosen].transpose(0, 2, 1).reshape(-1, len(chosen))
        # one heavy row: the weights sum to one, so that the joint follows any translation
        design = np.concatenate([design, np.full((1, len(chosen)), 10.0)])
        solution, _ = nnls(design, np.append(positions.ravel(), 10.0))
        regressor[joint, chosen] = solution / solution.sum()
    return regressor
