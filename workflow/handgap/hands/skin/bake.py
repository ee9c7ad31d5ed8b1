"""Baking skins: measured tone of a person's hand, optics of melanin and blood, detail from `detail`.

Colour is handled as absorbance, -ln(linear reflectance): pigments add up there, so that more melanin or more blood
turns any tone into another plausible one (after Tsumura et al., "Image-based skin color and texture analysis/synthesis
by extracting hemoglobin and melanin information", SIGGRAPH 2003).
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import sparse

from handgap.core.conventions import MM
from handgap.hands.skin.detail import Details, noise
from handgap.hands.skin.map import TexelMap

# absorbance in linear R, G, B of one unit
MELANIN = np.array([0.42, 0.72, 1.0], np.float32)
BLOOD = np.array([0.06, 0.75, 0.55], np.float32)
_SMOOTHING_STEPS = 25
_NAIL_BED = np.array([-0.06, -0.02, 0.0], np.float32)


@dataclass
class Person:
    """What differs between two skins of the same tone map, drawn once per skin.

    Attributes:
        melanin, blood: shifts of the pigments, units of absorbance.
        age: 0 young to 1 old: depth of folds, veins and spots.
        freckles, veins, ruddiness, mottling: strengths, about 0..1.
    """

    melanin: float
    blood: float
    age: float
    freckles: float
    veins: float
    ruddiness: float
    mottling: float


def draw_person(generator: np.random.Generator, tone: np.ndarray, name: str) -> Person:
    """Draw a person around a tone map.

    Args:
        generator: random numbers.
        tone: (3,) mean absorbance of the map; light ones may turn darker, dark ones lighter.
        name: file name of the map; says the age group.
    """
    dark = float(np.clip((tone @ MELANIN - 1.0) / 2.5, 0.0, 1.0))
    age = {"young": 0.15, "middleage": 0.5, "old": 0.85}[name.split("_")[0]] + generator.uniform(-0.15, 0.15)
    return Person(
        melanin=float(generator.uniform(-0.12 - 0.45 * dark, 0.55 - 0.35 * dark)),
        blood=float(np.clip(generator.normal(0.02, 0.06), -0.05, 0.14) * (1.0 - 0.6 * dark)),
        age=age,
        freckles=float(generator.beta(1.0, 3.0)),
        veins=float(generator.uniform(0.3, 1.0)),
        ruddiness=float(generator.uniform(0.4, 1.0)),
        mottling=float(generator.uniform(0.5, 1.0)),
    )


def srgb_to_linear(value: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, values in 0..1."""
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(value: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, values in 0..1."""
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * np.maximum(value, 1e-8) ** (1 / 2.4) - 0.055)


def tone_of(image: Image.Image, model: dict[str, np.ndarray]) -> np.ndarray:
    """Absorbance (V, 3) of each vertex from a body texture, smoothed over the surface.

    A body map gives a hand some 60 texels: good for its tone (back, palm, knuckles), not for detail. Nails are taken
    from the skin around them: they are painted again.

    Args:
        image: RGB body map in the atlas that `source_uv` belongs to.
        model: arrays of the OpenNimble file.
    """
    pixels = srgb_to_linear(np.asarray(image.convert("RGB"), np.float32) / 255.0)
    height, width = pixels.shape[:2]
    column = np.clip((model["source_uv"][:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1.0 - model["source_uv"][:, 1]) * height).astype(int), 0, height - 1)
    corner = -np.log(np.maximum(pixels[row, column], 0.01))
    faces, uv_faces = model["faces_forearm"], model["uv_faces_forearm"]
    n = len(model["v_template"])
    ids = faces.ravel()
    count = np.bincount(ids, minlength=n)[:, None]
    sums = np.stack([np.bincount(ids, corner[uv_faces.ravel(), k], n) for k in range(3)], -1)
    tone = sums / np.maximum(count, 1)
    trust = ((count[:, 0] > 0) & (model["nail"] < 0.05)).astype(float)
    edges = np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), (n, n)).tocsr()
    graph = graph + graph.T + sparse.identity(n)
    for step in range(_SMOOTHING_STEPS):
        known = trust if step < _SMOOTHING_STEPS - 2 else np.ones(n)
        weight = graph @ known
        tone = np.where(
            weight[:, None] > 0, (graph @ (tone * known[:, None])) / np.maximum(weight, 1e-9)[:, None], tone
        )
        trust = np.maximum(trust, (weight > 0).astype(float))
    # vertices of the wrist's cap alone have no tone of their own
    seen = count[:, 0] > 0
    tone[~seen] = tone[seen].mean(0)
    return tone.astype(np.float32)


@dataclass
class Blotches:
    """Uneven pigment over M texels, mean 0 and deviation about 1, at four sizes.

    Attributes:
        broad, fine, spot, grain: noise of wavelength 14, 3.5, 2.2 and 0.9 mm.
    """

    broad: np.ndarray
    fine: np.ndarray
    spot: np.ndarray
    grain: np.ndarray


def draw_blotches(generator: np.random.Generator, points: np.ndarray) -> Blotches:
    """Blotches at surface points (M, 3), metres."""
    return Blotches(*(noise(generator, points, size * MM) for size in (14, 3.5, 2.2, 0.9)))


def bake(
    tone: np.ndarray,
    person: Person,
    blotches: Blotches,
    details: Details,
    slopes: dict[str, np.ndarray],
    texels: TexelMap,
) -> dict[str, np.ndarray]:
    """One skin at the M texels of the atlas.

    Args:
        tone: (V, 3) absorbance.
        person: what makes this skin.
        blotches: where its pigment is uneven.
        details: fields of the hand.
        slopes: (M, 2) slope of "relief", "folds", "body" and "plate" (`TexelMap.slope`).
        texels: atlas.

    Returns:
        Values in 0..1: "diffuse" (M, 3) sRGB, "normal" (M, 3) tangent space with green up, "roughness" (M, 1).
    """
    d = details
    broad, fine, grain = blotches.broad, blotches.fine, blotches.grain
    spots = np.clip(blotches.spot - 2.3 + 0.5 * person.freckles, 0.0, 1.0) * (0.3 + 0.7 * d.dorsal)
    darkness = float(np.clip((tone.mean(0) @ MELANIN + person.melanin - 1.0) / 2.5, 0.0, 1.0))
    bare = 1.0 - d.nail
    palm = 1.0 - d.dorsal
    melanin = person.melanin * (1.0 - 0.45 * palm) + 0.035 * grain + 0.05 * person.mottling * fine
    melanin += bare * (
        (0.15 + 0.35 * darkness) * d.knuckle * person.age**0.5
        + person.freckles * 0.9 * spots
        + (0.08 + 0.45 * darkness) * d.crease
        - 0.05 * d.furrow
        + 0.12 * d.pore
    )
    blood = person.blood + person.mottling * (0.07 * broad + 0.05 * fine)
    blood += bare * person.ruddiness * (0.2 * d.knuckle + 0.3 * d.fingertip * (0.4 + 0.6 * palm) + 0.12 * d.crease)
    blood += 0.1 * palm * person.ruddiness
    absorbance = texels.interpolate(tone) + melanin[:, None] * MELANIN + blood[:, None] * BLOOD
    # veins: blood under skin takes red away, scatter keeps green and blue
    absorbance += (person.veins * d.vein * (1.0 - 0.6 * darkness))[:, None] * np.array([0.22, 0.06, -0.02], np.float32)
    absorbance += d.nail[:, None] * (_NAIL_BED + 0.12 * BLOOD - 0.25 * darkness * MELANIN)
    absorbance -= d.lunula[:, None] * (0.2 * BLOOD + 0.06)
    edge = np.array([0.22, 0.32, 0.48], np.float32)
    absorbance += (0.75 * d.nail_tip)[:, None] * (edge - absorbance)
    absorbance += (1.6 * d.nail * (1.0 - d.nail))[:, None] * (0.2 * MELANIN + 0.3 * BLOOD)
    diffuse = linear_to_srgb(np.exp(-np.maximum(absorbance, 0.03)))

    gain = {"relief": 0.8 + 0.5 * person.age, "folds": 0.7 + 0.8 * person.age, "body": person.veins, "plate": 1.0}
    slope = sum(gain[name] * slopes[name] for name in gain)
    normal = np.concatenate([-slope, np.ones((len(slope), 1), np.float32)], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    rough = 0.5 + 0.05 * fine * person.mottling - 0.06 * d.furrow + 0.08 * d.crease - 0.04 * d.fingertip - 0.06 * palm
    rough = rough * bare + d.nail * (0.26 + 0.1 * d.nail_tip)
    return {"diffuse": diffuse, "normal": 0.5 + 0.5 * normal, "roughness": np.clip(rough, 0.0, 1.0)[:, None]}
