"""Hand meshes out of whatever file people have them in."""

import json
import zipfile
from pathlib import Path

import numpy as np

from handgap.core.conventions import MM, Side
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.core.store import Store

SUFFIXES = (".npz", ".npy", ".json", ".obj", ".h5")
UNITS = {"m": 1.0, "mm": MM}
# no hand mesh, with forearm or not, is longer, metres
_LARGEST = 5.0


def read_meshes(path: Path, unit: str, side: Side) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, V, 3) in metres and sides (N,) of the meshes in a file.

    Args:
        path: `.npz` with an array `vertices`, `.npy` or `.json` with (N, V, 3) or (V, 3); `.obj` with one mesh, its
            vertices in the order of their lines; `.h5` store with `vertices` and maybe `side`.
        unit: of the file, a key of `UNITS`; stores are in metres.
        side: of the hands, where the file does not say.

    Raises:
        MissingAssetError: there is no such file.
        CorruptFileError: no vertices can be read from it.
        HandgapError: of a kind not listed above, a store said to be in millimetres, or its meshes are far too large to
            be in this unit.
    """
    if path.suffix not in SUFFIXES:
        raise HandgapError(path, f"no kind of file that holds meshes ({', '.join(SUFFIXES)})", "convert it to one")
    if not path.exists():
        raise MissingAssetError(path, "no such file", "check its name")
    if path.suffix == ".h5" and unit != "m":
        raise HandgapError(path, "a store is in metres", "fit it without --unit mm, apart from files in millimetres")
    sides = None
    try:
        if path.suffix == ".h5":
            with Store(path) as store:
                vertices = store.column("vertices")
                sides = store.column("side") if "side" in store else None
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                vertices = file["vertices"]
        elif path.suffix == ".npy":
            vertices = np.load(path, allow_pickle=False)
        elif path.suffix == ".json":
            vertices = json.loads(path.read_text())
        else:
            lines = path.read_text().splitlines()
            vertices = [line.split()[1:4] for line in lines if line.startswith("v ")]
        vertices = np.asarray(vertices, np.float64) * UNITS[unit]
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptFileError(path, f"no vertices in it ({error})", "see docs/fit.md for what is read") from error
    vertices = vertices[None] if vertices.ndim == 2 else vertices
    if vertices.ndim != 3 or vertices.shape[2] != 3 or not vertices.size:
        raise CorruptFileError(path, f"its array is {vertices.shape}", "give vertices of shape (N, V, 3) or (V, 3)")
    size = np.linalg.norm(np.ptp(vertices, axis=1), axis=1)
    if np.median(size) > _LARGEST:
        problem = f"a hand {np.median(size):.3g} m long: its unit is not metres"
        raise HandgapError(path, problem, "say --unit mm if these are millimetres (NIMBLE's are)")
    return vertices, np.full(len(vertices), side, np.uint8) if sides is None else sides
