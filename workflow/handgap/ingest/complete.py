"""Labels completed with the annotation hand: parameters in its own terms, vertices and joints where a dataset has none.

A dataset's pose may leave out the mean pose, be coefficients, turn the hand in another frame than the camera's, or come
with a root in place of a translation. Here all become axis-angle with the mean pose added, in the OpenCV camera.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from handgap.core.conventions import MIDDLE_MCP, Side
from handgap.core.errors import ConfigError
from handgap.data.adapters.adapter import Adapter, PoseSpace
from handgap.data.adapters.shard import Rows
from handgap.hands.annotation_hand import MODEL_TIPS, AnnotationHand

PARAMETERS = {"pose": 48, "shape": 10, "trans": 3}
RESIDUAL = "mano_residual_mm"
Hands = Mapping[Side, AnnotationHand]


def complete(adapter: Adapter, rows: Rows, hands: Hands) -> dict[str, object]:
    """Columns of a shard out of a dataset's rows.

    Args:
        adapter: the dataset: how it writes poses, and what its joints are.
        rows: its rows.
        hands: the annotation hand of each side; none to keep what the files have.

    Returns:
        The columns of `rows`, with pose, shape and trans (nan where unknown); vertices and joints of the hand model
        where the dataset has parameters but no such labels, and joints regressed from its vertices where it has these
        alone; and `mano_residual_mm`: how far the model's vertices (its joints, if the dataset has no vertices) are
        from the labels, mean over them, nan where there is nothing to compare.

    Raises:
        ConfigError: there is no model of a side that has parameters.
    """
    columns, count = dict(rows.columns), len(rows.faulty)
    for name, width in PARAMETERS.items():
        columns[name] = np.full((count, width), np.nan, np.float32)
    columns[RESIDUAL] = np.full(count, np.nan, np.float32)
    for name in ("joints", "vertices"):
        columns[name] = columns[name].copy()
    space = adapter.pose_space
    if space is not None and hands:
        known = np.isfinite(rows.parameters["pose"]).all(1) & np.isfinite(rows.parameters["shape"]).all(1)
        known &= np.isfinite(rows.parameters["trans"]).all(1) | np.isfinite(rows.parameters["root"]).all(1)
        for side, chosen in _by_side(columns["side"], known):
            hand = _model(hands, side)
            hand = released_left(hand) if side is Side.LEFT and space.released_left else hand
            _complete_side(columns, rows, chosen, space, adapter.tips, hand)
    if adapter.regressed and hands:
        for side, chosen in _by_side(columns["side"], np.isfinite(columns["vertices"]).all((1, 2))):
            hand = _model(hands, side)
            vertices = torch.from_numpy(columns["vertices"][chosen])
            columns["joints"][chosen] = hand.regress_joints(vertices, _tips(hand, adapter.tips)).numpy()
    return columns


def _by_side(side: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[Side, np.ndarray]]:
    """Rows wanted, of each side that has some."""
    for which in Side:
        rows = np.flatnonzero(wanted & (side == which))
        if len(rows):
            yield which, rows


def _model(hands: Hands, side: Side) -> AnnotationHand:
    if side not in hands:
        cure = "convert MANO's, or set the dataset's `mano: false`"
        raise ConfigError(f"{side.name.lower()} hand", "no model of it was given", cure)
    return hands[side]


def _tips(hand: AnnotationHand, tips: str) -> str:
    """The dataset's table of fingertips, if the model's mesh is the one that it is of."""
    return tips if hand.topology == "mano" else MODEL_TIPS


def _complete_side(
    columns: dict[str, object], rows: Rows, chosen: np.ndarray, space: PoseSpace, tips: str, hand: AnnotationHand
) -> None:
    given = {name: torch.from_numpy(rows.parameters[name][chosen]).float() for name in rows.parameters}
    rotation, translation = rows.rotation[chosen], rows.translation[chosen]
    with torch.no_grad():
        pose = hand.full_pose(
            given["pose"][:, :3],
            given["pose"][:, 3:],
            use_pca=space.use_pca,
            flat_hand_mean=space.flat_hand_mean,
        )
        turned = Rotation.from_matrix(rotation) * Rotation.from_rotvec(pose[:, :3].double().numpy())
        pose[:, :3] = torch.from_numpy(turned.as_rotvec()).float()
        # the model turns about its wrist, not about the frame's origin
        wrist = hand.J_template[0] + torch.einsum("cs,bs->bc", hand.J_shapedirs[0], given["shape"])
        wrist = wrist.double().numpy()
        moved = wrist + given["trans"].double().numpy()
        trans = np.einsum("bij,bj->bi", rotation, moved) + translation - wrist
        posed = hand(pose, given["shape"], torch.zeros(len(chosen), 3), _tips(hand, tips))
        middle = hand.regress_joints(posed.vertices)[:, MIDDLE_MCP].double().numpy()
        root = np.einsum("bij,bj->bi", rotation, given["root"].double().numpy()) + translation
        trans = np.where(np.isfinite(trans), trans, root - middle)
    vertices = posed.vertices.double().numpy() + trans[:, None]
    joints = posed.joints.double().numpy() + trans[:, None]
    for name, values in (("pose", pose.numpy()), ("shape", given["shape"].numpy()), ("trans", trans)):
        columns[name][chosen] = values
    for name, made in (("joints", joints), ("vertices", vertices)):
        labels = columns[name][chosen]
        lacking = np.isnan(labels).all((1, 2))
        difference = 1000.0 * np.linalg.norm(made - labels, axis=2).mean(1)
        columns[RESIDUAL][chosen[~lacking]] = difference[~lacking]
        columns[name][chosen[lacking]] = made[lacking]


def released_left(hand: AnnotationHand) -> AnnotationHand:
    """MANO's left hand as it was released: `shapedirs` with the sign in x that the converter corrects."""
    released = deepcopy(hand)
    released.shapedirs[:, 0].neg_()
    released.J_shapedirs[:, 0].neg_()
    return released
