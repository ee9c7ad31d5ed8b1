"""Photos in, hands out: joints, meshes and overlays in files, one table of all."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from handgap.core.conventions import JOINT_NAMES, MIDDLE_MCP
from handgap.core.files import written_whole
from handgap.core.geometry import project
from handgap.core.images import encode_jpeg
from handgap.report.draw import MESH_COLOURS, draw_mesh, draw_skeleton
from handgap.segment.hand_table import PREDICTIONS, PoseRow
from handgap.segment.photo_run import OVERLAY_EDGE, OVERLAY_QUALITY, Outcome, Photo, Products, run_photos
from handgap.segment.views import shrunk
from handgap.use.photo_hands import PhotoHand

STAMP = "handgap"  # key of a JSON file of ours: what it was made from, and its rows of the table
NO_HAND = "no hand found"
UM, CENTIPIXEL = 6, 2  # decimals of metres and of pixels
BONES = 120  # lines are a hand's extent over this wide


def _note(file: Path) -> dict[str, object] | None:
    """What a JSON file of ours says of itself; None of any other file."""
    try:
        note = json.loads(file.read_text(encoding="utf-8"))[STAMP]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return note if isinstance(note, dict) else None


PRODUCTS = Products(
    "predict",
    PREDICTIONS,
    {"file of joints": "joints/{}.json", "mesh": "meshes/{}.obj", "overlay": "overlays/{}.jpg"},
    _note,
)


def predict_photos(
    photos: Sequence[Photo],
    out: Path,
    find: Callable[[np.ndarray], tuple[np.ndarray, list[PhotoHand]]],
    key: str,
) -> Outcome:
    """Predict the hands of photos, one photo at a time.

    Writes `out/joints/FILE.json`, `out/meshes/FILE.obj`, `out/overlays/FILE.jpg` and `out/predictions.csv`.

    Args:
        photos: checked with `PRODUCTS.require_harmless`.
        out: made if need be.
        find: a `PhotoHands`.
        key: names settings, weights and code.

    Raises:
        HandgapError: none of the photos can be read, or `out` cannot be written.
    """

    def make(rgb: np.ndarray, photo: Photo, stamp: str) -> list[PoseRow]:
        K, hands = find(rgb)
        joints, mesh, overlay = PRODUCTS.of(photo, out)
        small, scale = shrunk(rgb, OVERLAY_EDGE)
        with written_whole(mesh) as temporary:
            temporary.write_text(mesh_text(hands), encoding="utf-8")
        with written_whole(overlay) as temporary:
            drawn = overlay_of(small, np.diag([*scale, 1.0]) @ K, hands)
            temporary.write_bytes(encode_jpeg(drawn, OVERLAY_QUALITY))
        rows = rows_of(photo.name, K, hands)
        note = {"stamp": stamp, "rows": [asdict(row) for row in rows]}
        content = joints_of(photo.name, rgb.shape[:2], K, hands) | {STAMP: note}
        with written_whole(joints) as temporary:
            temporary.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
        return rows

    return run_photos(photos, out, PRODUCTS, make, key, "predicting")


def overlay_of(rgb: np.ndarray, K: np.ndarray, hands: Sequence[PhotoHand]) -> np.ndarray:
    """A copy of a picture (H, W, 3) uint8 with intrinsics (3, 3), meshes and skeletons drawn in, the farthest first."""
    for hand in sorted(hands, key=lambda hand: -hand.joints[MIDDLE_MCP, 2]):
        joints = project(hand.joints, K)
        rgb = draw_mesh(rgb, hand.vertices, hand.faces, K, MESH_COLOURS[hand.side])
        rgb = draw_skeleton(rgb, joints, max(1, round(np.ptp(joints, 0).max() / BONES)))
    return rgb


def rows_of(name: str, K: np.ndarray, hands: Sequence[PhotoHand]) -> list[PoseRow]:
    """Rows of the table for one photo with intrinsics (3, 3)."""
    rows = []
    for number, hand in enumerate(hands, start=1):
        error = np.linalg.norm(project(hand.joints, K) - hand.uv, axis=1).mean()
        numbers = [
            *np.round(hand.box, 1).tolist(),
            round(hand.score, 4),
            *np.round(hand.joints[MIDDLE_MCP], UM).tolist(),
            round(float(error), CENTIPIXEL),
        ]
        rows.append(PoseRow(name, number, hand.side.name.lower(), *numbers))
    return rows or [PoseRow(name, reason=NO_HAND)]


def joints_of(name: str, size: tuple[int, int], K: np.ndarray, hands: Sequence[PhotoHand]) -> dict[str, object]:
    """Content of the JSON file of one photo (H, W), intrinsics (3, 3)."""
    return {
        "photo": name,
        "height": size[0],
        "width": size[1],
        "K": K.tolist(),
        "frame": "camera: x right, y down, z forward; metres",
        "joint_order": list(JOINT_NAMES),
        "hands": [
            {
                "hand": number,
                "side": hand.side.name.lower(),
                "score": round(hand.score, 4),
                "box": np.round(hand.box, 1).tolist(),
                "joints_3d": np.round(hand.joints, UM).tolist(),
                "joints_2d": np.round(project(hand.joints, K), CENTIPIXEL).tolist(),
                "network_2d": np.round(hand.uv, CENTIPIXEL).tolist(),
            }
            for number, hand in enumerate(hands, start=1)
        ],
    }


def mesh_text(hands: Sequence[PhotoHand]) -> str:
    """Wavefront OBJ of the hands of one photo: an object each, metres, camera frame."""
    lines, first = [f"# hands: {len(hands)}; metres, camera frame (x right, y down, z forward)"], 1
    for number, hand in enumerate(hands, start=1):
        lines.append(f"o hand{number}_{hand.side.name.lower()}")
        lines += ["v {:.6f} {:.6f} {:.6f}".format(*vertex) for vertex in hand.vertices]
        lines += ["f {} {} {}".format(*face) for face in hand.faces + first]
        first += len(hand.vertices)
    return "\n".join(lines) + "\n"
