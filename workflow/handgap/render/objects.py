"""Procedural things to hold: many kinds, real sizes, random proportions, colours and printed surfaces."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from handgap.core.conventions import MaskLabel
from handgap.render.solids import Block, Lathe, Solid, Tube
from handgap.render.spec import Colour, MeshPart, SurfaceMaterial

LABEL_PX = 128


@dataclass(frozen=True)
class HeldObject:
    """A thing and how a hand takes it.

    Attributes:
        kind: a key of `KINDS`, or the name of a catalogue and of a thing in it.
        solid: mesh and signed distance, own frame (z the long axis, origin where it is held).
        material: surface.
        thickness: metres out of the palm.
        smooth: interpolate normals.
        roll: radians, range of the turn about z in a power grip; at 0 x points to the fingertips, y out of the palm.
    """

    kind: str
    solid: Solid
    material: SurfaceMaterial
    thickness: float
    smooth: bool = True
    roll: tuple[float, float] = (-np.pi, np.pi)

    @property
    def flat(self) -> bool:
        """Wider (x) than twice its thickness."""
        return bool(np.ptp(self.solid.mesh.vertices[:, 0]) > 2.0 * self.thickness)

    def draw_roll(self, generator: np.random.Generator) -> float:
        """A turn about z within `roll`."""
        return generator.uniform(*self.roll)

    def part(self, rotation: np.ndarray, translation: np.ndarray, label: MaskLabel = MaskLabel.OBJECT) -> MeshPart:
        """The thing in the camera's frame: x -> rotation (3, 3) x + translation (3,)."""
        mesh = self.solid.mesh
        return MeshPart(
            name=f"object.{self.kind}" if label == MaskLabel.OBJECT else f"clutter.{self.kind}",
            vertices=mesh.vertices @ rotation.T + translation,
            faces=mesh.faces,
            label=label,
            material=self.material,
            uv=mesh.uv,
            uv_faces=mesh.uv_faces,
            texture_coords=mesh.vertices,
            smooth=self.smooth,
        )


def random_object(generator: np.random.Generator, kind: str | None = None) -> HeldObject:
    """A thing of a drawn kind (or `kind`, one of `KINDS`), size and look."""
    kind = kind or list(KINDS)[generator.integers(len(KINDS))]
    return KINDS[kind](generator)


def colour(g: np.random.Generator, saturation: tuple[float, float] = (0.1, 0.8)) -> Colour:
    """Linear RGB of a random hue."""
    srgb = colorsys.hsv_to_rgb(g.random(), g.uniform(*saturation), g.uniform(0.15, 0.95))
    return tuple(float(c**2.2) for c in srgb)


def _srgb8(linear: Colour) -> np.ndarray:
    return np.rint(255 * np.asarray(linear) ** (1 / 2.2)).astype(np.uint8)


def printed(g: np.random.Generator, bands: tuple[float, ...] = ()) -> np.ndarray:
    """A printed surface (128, 128, 3) uint8 sRGB: stripes or fields, lines like text, a round or square emblem.

    Args:
        g: source of randomness.
        bands: heights (v, 0..1) above which the surface has another plain colour (caps, lids, bases).
    """
    n = LABEL_PX
    image = np.empty((n, n, 3), np.uint8)
    image[:] = _srgb8(colour(g))
    rows, columns = np.mgrid[0:n, 0:n]
    kind = g.integers(4)
    if kind == 0:
        image[(rows // g.integers(6, 40)) % 2 == 0] = _srgb8(colour(g))
    elif kind == 1:
        image[(columns // 16 + rows // 16) % 2 == 0] = _srgb8(colour(g))
    elif kind == 2:
        image[(rows > n * g.uniform(0.2, 0.5)) & (rows < n * g.uniform(0.6, 0.9))] = _srgb8(colour(g))
    for _ in range(g.integers(0, 4)):  # paragraphs
        ink, top, left = _srgb8(colour(g)), g.integers(0, n - 24), g.integers(0, n - 40)
        for line in range(g.integers(1, 5)):
            at, x = top + 5 * line, left
            while x < min(n, left + 40):
                word = g.integers(2, 9)
                image[at : at + 2, x : x + word] = ink
                x += word + 2
    for _ in range(g.integers(0, 3)):  # emblems
        y, x, r = *g.integers(10, n - 10, 2), g.integers(5, 18)
        inside = (
            np.hypot(rows - y, columns - x) < r if g.random() < 0.6 else np.maximum(abs(rows - y), abs(columns - x)) < r
        )
        image[inside] = _srgb8(colour(g))
    for band in bands:
        image[: int(n * (1 - band))] = _srgb8(colour(g, (0.0, 0.6)))
    return image


def _surface(g: np.random.Generator, image: np.ndarray | None = None, metal: float = 0.0) -> SurfaceMaterial:
    """Plastic, lacquer, card or metal; printed, patterned or plain."""
    pattern = "image" if image is not None else str(g.choice(["plain", "plain", "plain", "noise", "checker"]))
    metallic = float(g.random() < metal)
    return SurfaceMaterial(
        base=colour(g, (0.0, 0.25)) if metallic else colour(g),
        second=colour(g),
        pattern=pattern,
        scale=float(g.uniform(20, 90)),
        image=image,
        roughness=float(g.uniform(0.15, 0.4) if metallic else g.uniform(0.15, 0.7)),
        metallic=metallic,
        specular=float(g.uniform(0.3, 0.6)),
    )


def _stack(*rings: tuple[float, float]) -> np.ndarray:
    """Profile of (radius, height) rings from the bottom up, closed to the axis and centred."""
    table = np.array([(0.0, rings[0][1]), *rings, (0.0, rings[-1][1])])
    table[:, 1] -= (table[0, 1] + table[-1, 1]) / 2
    return table


def _can(g: np.random.Generator) -> HeldObject:
    r, h = g.uniform(0.026, 0.033), g.uniform(0.09, 0.165)
    profile = _stack((r * 0.8, 0), (r, 0.006), (r, h - 0.012), (r * 0.83, h))
    return HeldObject("can", Lathe(profile), _surface(g, printed(g, (0.94,)), metal=0.5), 2 * r)


def _bottle(g: np.random.Generator) -> HeldObject:
    r, h, neck = g.uniform(0.024, 0.036), g.uniform(0.16, 0.24), g.uniform(0.011, 0.014)
    shoulder = g.uniform(0.55, 0.72) * h
    profile = _stack(
        (r, 0),
        (r, shoulder),
        (neck, shoulder + 0.6 * (h - shoulder)),
        (neck, h - 0.02),
        (neck + 0.002, h - 0.019),
        (neck + 0.002, h),
    )
    profile[:, 1] += g.uniform(0.0, 0.04)  # held below the middle
    image = printed(g, (shoulder / h, 1 - 0.02 / h))
    return HeldObject("bottle", Lathe(profile, corner=0.012), _surface(g, image), 2 * r)


def _mug(g: np.random.Generator) -> HeldObject:
    r, h = g.uniform(0.034, 0.041), g.uniform(0.08, 0.105)
    taper = g.uniform(0.85, 1.0)
    solid = Lathe(_stack((r * taper, 0), (r, h)), cavity=h - 0.008, wall=0.0035, handle=g.uniform(0.024, 0.034))
    return HeldObject("mug", solid, _surface(g, printed(g) if g.random() < 0.5 else None), 2 * r, roll=(1.2, 2.2))


def _cup(g: np.random.Generator) -> HeldObject:
    r, h = g.uniform(0.03, 0.039), g.uniform(0.085, 0.13)
    solid = Lathe(_stack((r * g.uniform(0.65, 0.85), 0), (r, h)), cavity=h - 0.006, wall=0.0025)
    return HeldObject("cup", solid, _surface(g, printed(g) if g.random() < 0.5 else None), 2 * r)


def _jar(g: np.random.Generator) -> HeldObject:
    r, h = g.uniform(0.026, 0.036), g.uniform(0.07, 0.11)
    lid = h - g.uniform(0.014, 0.02)
    profile = _stack((r, 0), (r, lid - 0.004), (r * 0.93, lid - 0.002), (r * 0.97, lid), (r * 0.97, h))
    return HeldObject("jar", Lathe(profile, corner=0.003), _surface(g, printed(g, (lid / h,))), 2 * r)


def _ball(g: np.random.Generator) -> HeldObject:
    r = g.uniform(0.02, 0.037)
    a = np.linspace(-np.pi / 2, np.pi / 2, 24)
    profile = np.stack([r * np.cos(a), r * np.sin(a)], 1)
    profile[[0, -1], 0] = 0
    return HeldObject("ball", Lathe(profile, corner=0.0), _surface(g, printed(g) if g.random() < 0.4 else None), 2 * r)


def _apple(g: np.random.Generator) -> HeldObject:
    r = g.uniform(0.03, 0.04)
    a = np.linspace(-np.pi / 2, np.pi / 2, 28)
    dent = 1 - 0.22 * np.exp(-((np.abs(a) - np.pi / 2) ** 2) / 0.18)
    profile = np.stack([r * np.cos(a), 0.93 * r * np.sin(a) * dent], 1)
    profile[[0, -1], 0] = 0
    skin = ((0.45, 0.02, 0.02), (0.55, 0.35, 0.05), (0.22, 0.42, 0.06), (0.75, 0.28, 0.03))
    base, second = (skin[k] for k in g.choice(4, 2, replace=False))
    look = SurfaceMaterial(base, second, "noise", g.uniform(15, 40), roughness=g.uniform(0.25, 0.45), bump=0.0004)
    return HeldObject("apple", Lathe(profile, corner=0.0), look, 2 * r)


def _banana(g: np.random.Generator) -> HeldObject:
    bend, length, r = g.uniform(0.6, 1.1), g.uniform(0.15, 0.2), g.uniform(0.015, 0.019)
    a = np.linspace(-bend, bend, 22)
    curve = length / (2 * bend)
    t = np.abs(a / bend)
    radii = r * (1 - 0.72 * t**5)
    path = np.stack([curve * (np.cos(a) - 1), np.zeros(22), curve * np.sin(a)], 1)
    look = SurfaceMaterial(
        (0.75, 0.5, 0.04), (0.35, 0.22, 0.03), "noise", g.uniform(10, 25), roughness=0.5, bump=0.0003
    )
    return HeldObject("banana", Tube(path, radii), look, 2 * r)


def _screwdriver(g: np.random.Generator) -> HeldObject:
    r, handle, shaft = g.uniform(0.012, 0.017), g.uniform(0.085, 0.11), g.uniform(0.07, 0.14)
    profile = _stack(
        (r * 0.8, 0), (r, 0.012), (r, handle * 0.7), (r * 0.72, handle * 0.88), (r * 0.85, handle),
        (0.0032, handle + 0.004), (0.0032, handle + shaft),
    )  # fmt: skip
    profile[:, 1] += profile[-1, 1] - handle / 2
    image = printed(g, (handle / (handle + shaft),))
    return HeldObject("screwdriver", Lathe(profile, corner=0.004), _surface(g, image), 2 * r)


def _torch(g: np.random.Generator) -> HeldObject:
    r, head, h = g.uniform(0.011, 0.017), g.uniform(0.019, 0.026), g.uniform(0.12, 0.18)
    profile = _stack((r, 0), (r, h * 0.72), (head, h * 0.82), (head, h))
    return HeldObject("torch", Lathe(profile, corner=0.002), _surface(g, metal=0.6), 2 * r)


def _marker(g: np.random.Generator) -> HeldObject:
    r, h = g.uniform(0.008, 0.011), g.uniform(0.115, 0.145)
    profile = _stack((r * 0.3, 0), (r * 0.45, 0.01), (r, 0.018), (r, h * 0.66), (r * 1.08, h * 0.66 + 0.001), (r, h))
    return HeldObject("marker", Lathe(profile, corner=0.001), _surface(g, printed(g, (0.66,))), 2 * r)


def _box(g: np.random.Generator) -> HeldObject:
    half = np.array([g.uniform(0.02, 0.032), g.uniform(0.012, 0.028), g.uniform(0.035, 0.085)])
    block = Block(half, g.uniform(0.0015, 0.003))
    return HeldObject("box", block, _surface(g, printed(g)), 2 * half[1], smooth=False, roll=(-0.1, 0.1))


def _remote(g: np.random.Generator) -> HeldObject:
    half = np.array([g.uniform(0.019, 0.025), g.uniform(0.008, 0.013), g.uniform(0.07, 0.1)])
    image = np.full((LABEL_PX, LABEL_PX, 3), g.integers(15, 60), np.uint8)
    for y in range(4, LABEL_PX // 2 - 4, 7):  # keys on the side that faces away from the palm (+y)
        for x in range(4, 38, 9):
            image[y : y + 4, x : x + 6] = _srgb8(colour(g, (0.0, 0.5)))
    look = SurfaceMaterial((0.05, 0.05, 0.05), pattern="image", image=image, roughness=g.uniform(0.3, 0.6))
    return HeldObject("remote", Block(half, 0.005), look, 2 * half[1], roll=(-0.1, 0.1))


def _phone(g: np.random.Generator) -> HeldObject:
    half = np.array([g.uniform(0.031, 0.038), g.uniform(0.004, 0.0055), g.uniform(0.065, 0.08)])
    image = np.full((LABEL_PX, LABEL_PX, 3), _srgb8(colour(g, (0.0, 0.5))), np.uint8)
    screen = image[: LABEL_PX // 2, : LABEL_PX // 3]
    screen[2:-2, 2:-2] = printed(g)[: len(screen) - 4, : screen.shape[1] - 4]
    look = SurfaceMaterial((0.02, 0.02, 0.02), pattern="image", image=image, roughness=0.12)
    return HeldObject("phone", Block(half, 0.0035), look, 2 * half[1], roll=(-0.1, 0.1))


def _book(g: np.random.Generator) -> HeldObject:
    half = np.array([g.uniform(0.033, 0.045), g.uniform(0.006, 0.014), g.uniform(0.06, 0.085)])
    return HeldObject("book", Block(half, 0.0015), _surface(g, printed(g)), 2 * half[1], smooth=False, roll=(-0.1, 0.1))


KINDS: dict[str, Callable[[np.random.Generator], HeldObject]] = {
    "can": _can,
    "bottle": _bottle,
    "mug": _mug,
    "cup": _cup,
    "jar": _jar,
    "ball": _ball,
    "apple": _apple,
    "banana": _banana,
    "screwdriver": _screwdriver,
    "torch": _torch,
    "marker": _marker,
    "box": _box,
    "remote": _remote,
    "phone": _phone,
    "book": _book,
}
