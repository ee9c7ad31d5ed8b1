"""Drawing labels on images: skeletons, masks, silhouettes."""

import cv2
import numpy as np

from handgap.core.conventions import FINGERS, JOINT_PARENTS, MaskLabel, Side
from handgap.core.drawing import SHIFT, fixed_point
from handgap.core.geometry import project

# thumb, index, middle, ring, pinky; the same colours in every picture
FINGER_COLOURS = dict(
    zip(FINGERS, ((230, 57, 70), (244, 162, 33), (67, 170, 75), (38, 132, 214), (157, 78, 221)), strict=True)
)
MASK_COLOURS = {
    MaskLabel.HAND: (67, 190, 95),
    MaskLabel.ARM: (38, 132, 214),
    MaskLabel.OBJECT: (244, 140, 20),
    MaskLabel.SECOND_HAND: (200, 60, 200),
}
MESH_COLOURS = {Side.RIGHT: (150, 190, 225), Side.LEFT: (235, 190, 140)}
OUTLINE = (20, 20, 20)
NEAREST = 0.01  # metres before the camera
AMBIENT = 0.35  # share of a mesh's colour that faces seen from the side keep


def draw_skeleton(rgb: np.ndarray, joints: np.ndarray, thickness: int = 2) -> np.ndarray:
    """A copy of the image with 21 joints in the fingers' colours.

    Args:
        rgb: (H, W, 3) uint8.
        joints: (21, 2) px, simple order.
        thickness: px.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    points = fixed_point(joints)
    for width, outline in ((thickness + 2, True), (thickness, False)):
        for joint in range(1, len(points)):
            colour = OUTLINE if outline else FINGER_COLOURS[FINGERS[(joint - 1) // 4]]
            start, end = map(int, points[JOINT_PARENTS[joint]]), map(int, points[joint])
            cv2.line(canvas, tuple(start), tuple(end), colour, width, cv2.LINE_AA, SHIFT)
    for joint, point in enumerate(points):
        colour = (255, 255, 255) if joint == 0 else FINGER_COLOURS[FINGERS[(joint - 1) // 4]]
        cv2.circle(canvas, tuple(map(int, point)), (thickness + 1) << SHIFT, OUTLINE, -1, cv2.LINE_AA, SHIFT)
        cv2.circle(canvas, tuple(map(int, point)), thickness << SHIFT, colour, -1, cv2.LINE_AA, SHIFT)
    return canvas


def draw_mesh(
    rgb: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    K: np.ndarray,
    colour: tuple[int, int, int],
    opacity: float = 0.75,
) -> np.ndarray:
    """A copy of the image with a mesh over it, lit from the camera, near faces over far ones.

    Args:
        rgb: (H, W, 3) uint8.
        vertices: (V, 3) camera frame.
        faces: (F, 3); those that reach behind the camera are left out.
        K: (3, 3) px.
        colour: of the mesh.
        opacity: of the whole.
    """
    faces = faces[(vertices[faces][..., 2] > NEAREST).all(1)]
    corners = vertices[faces]
    middle = corners.mean(1)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normal, axis=1) * np.linalg.norm(middle, axis=1)
    facing = np.abs((normal * middle).sum(1)) / np.maximum(lengths, 1e-12)
    colours = np.array(colour) * (AMBIENT + (1.0 - AMBIENT) * facing)[:, None]
    points = fixed_point(project(vertices, K))[faces]
    canvas, covered = np.ascontiguousarray(rgb).copy(), np.zeros(rgb.shape[:2], np.uint8)
    for face in np.argsort(-middle[:, 2], kind="stable"):
        cv2.fillConvexPoly(canvas, points[face], colours[face].tolist(), shift=SHIFT)
        cv2.fillConvexPoly(covered, points[face], 1, shift=SHIFT)
    mixed = np.rint(rgb * (1.0 - opacity) + canvas * opacity).astype(np.uint8)
    return np.where(covered[..., None] > 0, mixed, rgb)


def draw_mask(rgb: np.ndarray, labels: np.ndarray, opacity: float = 0.35) -> np.ndarray:
    """A copy of the image with each class tinted and outlined.

    Args:
        rgb: (H, W, 3) uint8.
        labels: (H, W) `MaskLabel`.
        opacity: of the tint.
    """
    canvas = np.ascontiguousarray(rgb).copy()
    for label, colour in MASK_COLOURS.items():
        draw_region(canvas, labels == label, colour, opacity)
    return canvas


def draw_region(canvas: np.ndarray, region: np.ndarray, colour: tuple[int, int, int], opacity: float) -> None:
    """Tint and outline a region (H, W) bool in place."""
    tinted = canvas[region] * (1.0 - opacity) + np.array(colour) * opacity
    canvas[region] = np.rint(tinted).astype(np.uint8)
    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, colour, 1)
