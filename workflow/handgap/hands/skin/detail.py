"""What skin looks like up close: furrows, pores, creases, veins, tendons and nails, as fields on the surface.

Everything is a function of the surface point at rest, never of the atlas, so no seam can be seen. Lengths are metres.
Sizes follow the anatomy of an adult hand: palmar creases 0.5 mm wide, dorsal furrows in cells of about 1 mm, veins and
tendons 2 to 3 mm.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from handgap.core.conventions import FINGERS, MM, NIMBLE_TO_SIMPLE
from handgap.hands.skin.map import TexelMap

# joints of each finger: knuckle, two finger joints, tip
_DIGITS = NIMBLE_TO_SIMPLE[1:].reshape(len(FINGERS), 4)
_LATTICE = 64

# (x, y) in mm of the right palm seen from its back, wrist at the origin, fingers up
_PALM_LINES = {
    "heart": [(48, 70), (34, 70), (14, 74), (-4, 83), (-14, 97)],
    "head": [(-42, 78), (-26, 74), (-6, 67), (14, 57), (32, 44)],
    "life": [(-42, 80), (-26, 72), (-13, 58), (-6, 40), (-8, 26), (-14, 15)],
    "fate": [(4, 18), (3, 45), (0, 70)],
    "wrist": [(-30, 8), (-10, 10), (10, 10), (30, 7)],
    "wrist2": [(-30, 1), (-10, 3), (10, 3), (30, 0)],
}
_VEINS = [
    [(-16, -110), (-20, -40), (-22, 10), (-14, 45), (-14, 84)],
    [(-14, 45), (2, 62), (10, 86)],
    [(14, -120), (20, -50), (22, 5), (24, 50), (29, 80)],
    [(22, 5), (8, 35), (-2, 60), (-10, 70)],
    [(24, 50), (12, 58), (10, 86)],
]


@dataclass
class Details:
    """Fields over M texels; all lie in 0..1 unless said.

    Attributes:
        dorsal: 1 on the back of the hand, 0 on the palm.
        nail, lunula, nail_tip: nail plate, its pale moon, its free edge.
        knuckle: around the joints, on the back. fingertip: the pads.
        vein: veins on the back of hand and forearm.
        crease: palm lines, finger creases and knuckle folds.
        furrow: signed relief of the skin's cells, about -1..1; pore: dots between them.
        relief, folds, body, plate: heights in metres of furrows and pores, creases, veins and tendons, nails.
    """

    dorsal: np.ndarray
    nail: np.ndarray
    lunula: np.ndarray
    nail_tip: np.ndarray
    knuckle: np.ndarray
    fingertip: np.ndarray
    vein: np.ndarray
    crease: np.ndarray
    furrow: np.ndarray
    pore: np.ndarray
    relief: np.ndarray
    folds: np.ndarray
    body: np.ndarray
    plate: np.ndarray


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _bell(distance: np.ndarray, sigma: float) -> np.ndarray:
    return np.exp(-0.5 * (distance / sigma) ** 2)


def noise(generator: np.random.Generator, points: np.ndarray, wavelength: float) -> np.ndarray:
    """Smooth noise in space with mean 0 and deviation about 1.

    Args:
        generator: its lattice of values and its offset.
        points: (M, 3) metres.
        wavelength: lattice spacing, metres; the lattice repeats after 64.
    """
    lattice = generator.normal(size=(_LATTICE,) * 3).astype(np.float32)
    at = points.T / wavelength + generator.uniform(0, _LATTICE, (3, 1)).astype(np.float32)
    return 1.6 * ndimage.map_coordinates(lattice, at, order=1, mode="grid-wrap")


def _curve_distance(points: np.ndarray, controls: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Distance of (M, 2) points to a smooth curve through `controls` (mm), and how far along it (0..1) they are."""
    knots = np.linspace(0.0, 1.0, len(controls))
    dense = np.linspace(0.0, 1.0, 160)
    coefficients = np.polyfit(knots, np.asarray(controls) * MM, min(3, len(controls) - 1))
    curve = np.stack([np.polyval(coefficients[:, k], dense) for k in range(2)], -1)
    distance, nearest = cKDTree(curve).query(points, workers=1)
    return distance.astype(np.float32), dense[nearest].astype(np.float32)


def _frames(model: dict[str, np.ndarray], texels: TexelMap) -> tuple[np.ndarray, np.ndarray]:
    """(M,) 1 on the back and 0 on the palm, from the bones' own palmar axes; and (M, 5) share of each finger."""
    n = len(model["J_template"])
    palmar = np.vstack([model["joint_axes"][:, 1], model["joint_axes"][:1, 1]])  # the forearm turns with the wrist
    palmar[[0, n]] = palmar[[k for k in (5, 10, 15, 20)]] = (0.0, 0.0, -1.0)
    direction = model["weights"] @ palmar
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    back = -np.einsum("vk,vk->v", model["normals"], direction)
    weights = np.stack([model["weights"][:, joints[:3]].sum(1) for joints in _DIGITS], -1)
    return smoothstep(-0.35, 0.35, texels.interpolate(back)), texels.interpolate(weights)


def make_details(model: dict[str, np.ndarray], texels: TexelMap, generator: np.random.Generator) -> Details:
    """All fields of one hand.

    Args:
        model: arrays of the OpenNimble file, and "normals" (V, 3) at rest.
        texels: its atlas.
        generator: random numbers.
    """
    points = texels.interpolate(model["v_template"])
    joints = model["J_template"]
    dorsal, fingers = _frames(model, texels)
    palmar = 1.0 - dorsal
    # distances are bent a little, so that no line is ruler-straight
    bent = points + MM * np.stack([0.9 * noise(generator, points, 7 * MM) for _ in range(3)], -1)
    nail_area = texels.interpolate(model["nail"])
    uneven = 0.75 + 0.25 * noise(generator, points, 9 * MM)
    zero = np.zeros(len(points), np.float32)
    knuckle, fingertip, crease, folds, nail, lunula, nail_tip = (zero.copy() for _ in range(7))

    def fold(distance: np.ndarray, where: np.ndarray, sigma: float, depth: float) -> None:
        line = _bell(distance, sigma) * where * np.clip(uneven, 0.2, 1.0)
        np.maximum(crease, line, out=crease)
        folds.__isub__(depth * line)

    for share, (base, middle, last, tip) in zip(fingers.T, _DIGITS, strict=True):
        on = smoothstep(0.4, 0.7, share)
        for joint, after, size in ((base, middle, 9.0), (middle, last, 7.0), (last, tip, 5.5)):
            bone = (joints[after] - joints[joint]) / np.linalg.norm(joints[after] - joints[joint])
            along = (bent - joints[joint]) @ bone.astype(np.float32)
            reach = np.linalg.norm(points - joints[joint], axis=1)
            near = _bell(reach, size * 1.3 * MM)
            knuckle = np.maximum(knuckle, _bell(reach, size * 1.25 * MM) * dorsal)
            if joint == base:
                web = 0.5 * np.linalg.norm(joints[middle] - joints[base])
                for offset in (0.0, 2.4 * MM):
                    fold(along - web - offset, on * palmar, 0.32 * MM, 0.22 * MM)
                continue
            for offset in (-1.1, 1.2) if joint == middle else (0.0,):
                fold(along - offset * MM, on * palmar, 0.32 * MM, 0.25 * MM)
            for k in range(-3, 4):
                # dorsal folds bow away from the joint
                side = np.abs((points - joints[joint]) @ model["joint_axes"][joint, 0].astype(np.float32))
                bow = np.sign(k) * 0.06 * side**2 / MM if k else 0.0
                fold(along - k * 0.24 * size * MM + bow, on * dorsal * near, 0.28 * MM, 0.14 * MM)
        bone = (joints[tip] - joints[last]) / np.linalg.norm(joints[tip] - joints[last])
        along = (points - joints[last]) @ bone.astype(np.float32)
        fingertip = np.maximum(
            fingertip, smoothstep(0.35, 0.95, along / np.linalg.norm(joints[tip] - joints[last])) * on
        )
        area = (nail_area > 0.5) & (share > 0.5)
        if area.any():
            across = (points - joints[last]) @ model["joint_axes"][last, 0].astype(np.float32)
            (start, left), (end, right) = np.percentile(np.stack([along[area], across[area]], -1), [1, 99], axis=0)
            t, u = (along - start) / (end - start), (across - left) / (right - left)
            # the mesh is too coarse for a nail's outline: a superellipse of the same extent
            outline = np.abs(2.0 * t - 1.0) ** 2.6 + np.abs(2.0 * u - 1.0) ** 2.6
            plate = (1.0 - smoothstep(0.95, 1.25, outline)) * smoothstep(0.3, 0.7, dorsal) * on
            nail = np.maximum(nail, plate)
            lunula = np.maximum(lunula, plate * (1.0 - smoothstep(0.08, 0.2, t + (2.0 * u - 1.0) ** 2 / 6.0)))
            nail_tip = np.maximum(nail_tip, plate * smoothstep(0.86, 0.92, t - (2.0 * u - 1.0) ** 2 / 10.0))
    hand_palm = palmar * (1.0 - smoothstep(0.55, 0.85, fingers.max(1)))
    for name, controls in _PALM_LINES.items():
        distance, at = _curve_distance(bent[:, :2], controls)
        ends = smoothstep(0.0, 0.12, at) * smoothstep(0.0, 0.12, 1.0 - at)
        strength = {"fate": 0.35, "wrist2": 0.5}.get(name, 1.0)
        fold(distance, hand_palm * ends * strength, 0.42 * MM, 0.3 * MM)
    vein, tendon = zero.copy(), zero.copy()
    swaying = points[:, :2] + 3.0 * MM * np.stack([noise(generator, points, 22 * MM) for _ in range(2)], -1)
    back = dorsal * (1.0 - smoothstep(0.5, 0.8, fingers.max(1)))
    for controls in _VEINS:
        distance, at = _curve_distance(swaying, controls)
        vein = np.maximum(vein, _bell(distance, 1.3 * MM) * smoothstep(0, 0.1, at) * smoothstep(0, 0.15, 1 - at))
    for base in (6, 11, 16, 21):
        x, y = joints[base, :2] / MM
        distance, at = _curve_distance(points[:, :2], [(0.25 * x, 12.0), (x, y)])
        tendon = np.maximum(tendon, _bell(distance, 1.8 * MM) * smoothstep(0.0, 0.5, at))
    vein, tendon = vein * back, tendon * back
    furrow, pore = _cells(generator, points, dorsal)
    bare = 1.0 - nail
    return Details(
        dorsal=dorsal,
        nail=nail,
        lunula=lunula,
        nail_tip=nail_tip,
        knuckle=knuckle * bare,
        fingertip=fingertip * bare,
        vein=vein,
        crease=crease * bare,
        furrow=furrow * bare,
        pore=pore * bare,
        relief=MM * bare * (0.055 * furrow - 0.04 * pore) * (0.6 + 0.4 * dorsal),
        folds=folds * bare,
        body=MM * (0.35 * vein + 0.45 * tendon),
        plate=MM * 0.35 * (nail - 2.0 * nail * (1.0 - nail)),
    )


def _cells(generator: np.random.Generator, points: np.ndarray, dorsal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Skin cells between furrows (Worley 1996, distances to the two nearest seeds), and pores at some of the seeds."""
    seeds = points[generator.choice(len(points), len(points) // 22, replace=False)]
    seeds = seeds + generator.normal(scale=0.2 * MM, size=seeds.shape)
    distance, nearest = cKDTree(seeds).query(points, k=2, workers=1)
    border = (distance[:, 1] - distance[:, 0]) / (distance[:, 1] + distance[:, 0] + 1e-9)
    furrow = 2.0 * smoothstep(0.0, 0.45, border) - 1.0
    open_pore = generator.random(len(seeds)) < 0.25
    pore = _bell(distance[:, 0], 0.22 * MM) * open_pore[nearest[:, 0]] * dorsal
    return furrow.astype(np.float32), pore.astype(np.float32)
