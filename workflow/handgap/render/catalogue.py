"""Things to hold out of furniture catalogues of Sweet Home 3D (.sh3f): real models, scaled to their real size.

A catalogue is a zip of OBJ models with `PluginFurnitureCatalog.properties`: one `key#number=value` a line, sizes in cm,
y upwards. Its furniture is left out; `GRASPABLE` names what a hand can take.
"""

import io
import re
import zipfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import trimesh
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.core.provenance import file_sha256, settings_hash
from handgap.render.objects import HeldObject
from handgap.render.solids import Mesh
from handgap.render.spec import SurfaceMaterial
from handgap.render.voxels import VoxelSolid

PROPERTIES = "PluginFurnitureCatalog.properties"
MIDDLE = 0.5
# model -> where it is held, as a share of its long axis; clear glass is left out, for a mask cannot say what is seen
GRASPABLE = {
    "basic_camera": MIDDLE,
    "beer_bottle": 0.35,
    "butter": MIDDLE,
    "cissors_swap": MIDDLE,
    "clock": MIDDLE,
    "coffee-mug": MIDDLE,
    "coffee_cup": MIDDLE,
    "com_bath": MIDDLE,
    "com_bath2_cepillo": 0.75,
    "com_bath2_jabon_pijo": MIDDLE,
    "com_bath2_peineta": MIDDLE,
    "com_bath2_soap": MIDDLE,
    "comb": MIDDLE,
    "cosmeticsPot": MIDDLE,
    "creamer": MIDDLE,
    "cupcake": MIDDLE,
    "deer": MIDDLE,
    "flacon": MIDDLE,
    "flashlight": 0.4,
    "fork": 0.65,
    "hotDog": MIDDLE,
    "iphone": MIDDLE,
    "kitchenKnife": 0.82,
    "knife": 0.75,
    "lipStick": MIDDLE,
    "mamadeira": MIDDLE,
    "marteau": 0.65,
    "medicoscopia_bottle": MIDDLE,
    "medicoscopia_bottle2": MIDDLE,
    "medicoscopia_box": MIDDLE,
    "mobile": MIDDLE,
    "pencil1": MIDDLE,
    "pencil2": MIDDLE,
    "plasticCup": MIDDLE,
    "ps4-joystick": MIDDLE,
    "red-wine-bottle-01": 0.8,
    "rubix2": MIDDLE,
    "saltShaker": MIDDLE,
    "spoon": 0.65,
    "stapler": MIDDLE,
    "tableTennisBat": 0.85,
    "textMarker": MIDDLE,
    "tournevis": 0.8,
    "tv-remote-control": MIDDLE,
    "wine_bottle": 0.8,
    "woodToy": MIDDLE,
    "yogurtBottle": 0.35,
}
LONGEST = 0.35  # metres: of any side
THICKEST = 0.085  # metres: of the thinnest side
PALM = 0.04  # metres of it that the hand covers, each way
UPRIGHT = 0.7  # height over longest side above which a thing stands, and is held standing
FLAT = 1.5  # width over thickness above which only its broad side lies in the palm
SURFACE_POINTS = 20_000  # that measure it
CREASE = 0.6  # radians between faces from which an edge is sharp
TILE = 128  # px, side of one material's field in the texture


@dataclass(frozen=True)
class Entry:
    """One thing of a catalogue.

    Attributes:
        catalogue: the .sh3f file.
        model: path of the OBJ inside.
        size: metres: width, height, depth along the turned model's x, y, z.
        rotation: (9,) rows of the turn of the model before it is scaled.
        creator: whom to credit.
    """

    catalogue: Path
    model: str
    size: tuple[float, ...]
    rotation: tuple[float, ...]
    creator: str

    @property
    def name(self) -> str:
        """The model's file name without its suffix."""
        return PurePosixPath(self.model).stem


class Catalogue:
    """The graspable things of all catalogues in a folder, in the order of their names.

    Args:
        folder: of .sh3f files.

    Raises:
        MissingAssetError: there is no such file, or nothing to hold in any.
        CorruptFileError: a file is no catalogue.
    """

    def __init__(self, folder: Path):
        files = sorted(folder.glob("*.sh3f"))
        if not files:
            raise MissingAssetError(
                folder, "has no .sh3f catalogue", "let snakemake fetch it (on Debian), or take procedural objects only"
            )
        found = [entry for path in files for entry in _entries(path)]
        self.entries = sorted((e for e in found if _graspable(e)), key=lambda entry: entry.name)
        if not self.entries:
            raise MissingAssetError(folder, "its catalogues hold nothing graspable", "fetch the asset anew")

    def draw(self, generator: np.random.Generator) -> HeldObject:
        """One of the things, with a finish of its own."""
        thing = held_object(self.entries[generator.integers(len(self.entries))])
        finish = {"roughness": generator.uniform(0.2, 0.6), "specular": generator.uniform(0.3, 0.6)}
        return replace(thing, material=replace(thing.material, **finish))

    @property
    def digest(self) -> str:
        """Hash of the catalogues, 12 digits."""
        return settings_hash([file_sha256(path) for path in sorted({entry.catalogue for entry in self.entries})])

    @property
    def creators(self) -> list[str]:
        """Whom to credit, sorted."""
        return sorted({entry.creator for entry in self.entries})


@lru_cache(maxsize=16)
def held_object(entry: Entry) -> HeldObject:
    """The thing in its own frame: long axis z, narrow side y, held at the origin."""
    vertices, faces, uv, image = _load(entry)
    turned = vertices @ np.reshape(entry.rotation, (3, 3)).T
    turned = (turned - turned.min(0)) * (entry.size / np.maximum(np.ptp(turned, axis=0), 1e-9))
    placed, thickness, width = _placed(turned, faces, entry)
    corners, sharp_faces = _creased(placed, faces)
    return HeldObject(
        kind=f"sweethome3d/{entry.name}",
        solid=VoxelSolid(Mesh(corners, sharp_faces, uv, faces)),
        material=SurfaceMaterial((0.5, 0.5, 0.5), pattern="image", image=image),
        thickness=thickness,
        roll=(-0.1, 0.1) if width > FLAT * thickness else (-np.pi, np.pi),
    )


def _entries(path: Path) -> list[Entry]:
    """Everything a catalogue lists."""
    try:
        with zipfile.ZipFile(path) as archive:
            lines = archive.read(PROPERTIES).decode("latin-1").splitlines()
    except (zipfile.BadZipFile, KeyError) as error:
        raise CorruptFileError(path, f"is no furniture catalogue: {error}", "fetch the asset anew") from error
    rows: dict[int, dict[str, str]] = {}
    for line in lines:
        if match := re.match(r"(\w+)#(\d+)\s*=\s*(.*)", line.strip()):
            rows.setdefault(int(match[2]), {})[match[1]] = match[3].strip()
    return [
        Entry(
            catalogue=path,
            model=row["model"].lstrip("/"),
            size=tuple(float(row[side]) / 100 for side in ("width", "height", "depth")),
            rotation=tuple(map(float, row.get("modelRotation", "1 0 0 0 1 0 0 0 1").split())),
            creator=row.get("creator", path.stem),
        )
        for row in rows.values()
    ]


def _graspable(entry: Entry) -> bool:
    """A name on the list, of a size that a hand takes."""
    return entry.name in GRASPABLE and max(entry.size) <= LONGEST and min(entry.size) <= THICKEST


def _load(entry: Entry) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3), faces (F, 3) and uv (V, 2) of all materials as one mesh, and their texture (H, W, 3) uint8."""
    with zipfile.ZipFile(entry.catalogue) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if _beside(name, entry.model)}
    resolver = trimesh.resolvers.ZipResolver(
        {PurePosixPath(name).name: io.BytesIO(data) for name, data in members.items()}
    )
    scene = trimesh.load_scene(io.BytesIO(members[entry.model]), file_type="obj", resolver=resolver)
    meshes = [scene.geometry[name] for name in sorted(scene.geometry)]
    fields = int(np.ceil(np.sqrt(len(meshes))))
    texture = np.zeros((fields * TILE, fields * TILE, 3), np.uint8)
    uv = []
    for k, mesh in enumerate(meshes):
        row, column = divmod(k, fields)
        tile, local = _tile(mesh)
        texture[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = tile
        inset = (0.5 + local * (TILE - 1)) / TILE  # centres of the outer pixels: no neighbour bleeds in
        uv.append((inset + np.array([column, fields - 1 - row])) / fields)
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    faces = np.concatenate([mesh.faces + k for mesh, k in zip(meshes, first, strict=True)])
    return np.concatenate([mesh.vertices for mesh in meshes]), faces, np.concatenate(uv), texture


def _beside(name: str, model: str) -> bool:
    return PurePosixPath(name).parent == PurePosixPath(model).parent and not name.endswith("/")


def _tile(mesh: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    """A material's field (TILE, TILE, 3) and the texture coordinates (V, 2) in it, 0..1; repeats are drawn out."""
    material = mesh.visual.material
    if getattr(material, "image", None) is None or mesh.visual.uv is None:
        plain = np.broadcast_to(np.asarray(material.main_color, np.uint8)[:3], (TILE, TILE, 3))
        return plain, np.full((len(mesh.vertices), 2), 0.5)
    uv = np.asarray(mesh.visual.uv)
    low = np.floor(uv.min(0) + 1e-6)
    repeats = np.maximum(np.ceil(uv.max(0) - low - 1e-6), 1.0)
    size = np.maximum(TILE // repeats, 1).astype(int)
    patch = np.asarray(material.image.convert("RGB").resize(tuple(size), Image.Resampling.BOX))
    drawn = Image.fromarray(np.tile(patch, (int(repeats[1]), int(repeats[0]), 1)))
    return np.asarray(drawn.resize((TILE, TILE), Image.Resampling.BILINEAR)), (uv - low) / repeats


def _placed(vertices: np.ndarray, faces: np.ndarray, entry: Entry) -> tuple[np.ndarray, float, float]:
    """Vertices in the frame of a held thing, and its thickness and width in metres where it is held."""
    sides = np.argsort(entry.size)
    long = 1 if entry.size[1] >= UPRIGHT * max(entry.size) else int(sides[2])
    thin = next(int(side) for side in sides if side != long)
    axes = np.eye(3)[[long, thin]]
    own = vertices @ np.stack([np.cross(axes[1], axes[0]), axes[1], axes[0]], 1)
    own[:, 2] -= own[:, 2].min() + GRASPABLE[entry.name] * np.ptp(own[:, 2])
    # points, for long triangles pass the palm without a vertex in it
    surface, _ = trimesh.sample.sample_surface(trimesh.Trimesh(own, faces, process=False), SURFACE_POINTS, seed=0)
    around = surface[np.abs(surface[:, 2]) < PALM, :2]
    own[:, :2] -= (around.min(0) + around.max(0)) / 2
    width, thickness = np.ptp(around, axis=0)
    return own, float(thickness), float(width)


def _creased(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of the mesh welded by place and cut along sharp edges, so that normals interpolate well."""
    places, welded = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
    faces = welded.reshape(-1)[faces]
    mesh = trimesh.Trimesh(places, faces, process=False)
    pairs = mesh.face_adjacency[mesh.face_adjacency_angles < CREASE]
    graph = coo_matrix((np.ones(len(pairs), bool), pairs.T), (len(faces), len(faces)))
    _, group = connected_components(graph, directed=False)
    corners, split = np.unique(np.stack([np.repeat(group, 3), faces.reshape(-1)], 1), axis=0, return_inverse=True)
    return places[corners[:, 1]], split.reshape(-1, 3)
