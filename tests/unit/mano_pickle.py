"""MANO's own file format, written from any annotation hand: what the converter and other MANO layers read."""

import pickle
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
from handgap.core.seeds import rng
from scipy import sparse

N_HAND_SCANS = 1554  # rows of MANO's hands_coeffs: the poses its components were computed from
ROOT_PARENT = 4294967295  # -1 of an unsigned integer


def write_mano_pickle(path: Path, arrays: dict[str, np.ndarray], *, chumpy: bool = False) -> dict[str, object]:
    """Write a pickle with all keys, shapes and types of MANO_RIGHT.pkl, as Python 2 wrote it (protocol 2).

    Args:
        path: the file.
        arrays: those of an annotation hand's `.npz`; its pose correctives are replaced by ones that are not zero.
        chumpy: shape space, template and correctives as objects of classes of a package that need not be there.

    Returns:
        What was written, by key, with arrays in place of such objects.
    """
    generator = rng(0, "tests/mano_pickle")
    double = {name: value.astype(np.float64) for name, value in arrays.items() if value.dtype.kind == "f"}
    n_vertices = len(double["v_template"])
    joints = double["J_regressor"] @ double["v_template"]
    coefficients = generator.normal(size=(N_HAND_SCANS, len(double["pose_std"])))
    coefficients *= double["pose_std"] / coefficients.std(0)
    model = {
        "hands_components": double["hands_components"],
        "f": arrays["faces"].astype(np.uint32),
        "J_regressor": sparse.csc_matrix(double["J_regressor"]),
        "kintree_table": np.array([[ROOT_PARENT, *arrays["parents"][1:]], np.arange(len(joints))]).astype(np.uint32),
        "J": joints,
        "weights": double["weights"],
        "posedirs": generator.normal(0, 0.002, (n_vertices, 3, 9 * (len(joints) - 1))),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "hands_mean": double["hands_mean"],
        "hands_coeffs": coefficients,
        "v_template": double["v_template"],
        "shapedirs": double["shapedirs"],
    }
    stored = _dumps_with_chumpy(model) if chumpy else pickle.dumps(model, protocol=2)
    # the module that this class was in at the time
    path.write_bytes(stored.replace(b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n"))
    return model


def chumpy_modules() -> dict[str, ModuleType]:
    """What a pickle takes for chumpy: its two classes, without any behaviour."""
    modules = {name: ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select")):
        setattr(modules[module], name, type(name, (), {"__module__": module}))
    return modules


def _dumps_with_chumpy(model: dict[str, object]) -> bytes:
    """Pickle with arrays in chumpy's two classes: a value, and a choice of entries of another one."""
    modules = chumpy_modules()
    Ch, Select = modules["chumpy.ch"].Ch, modules["chumpy.reordering"].Select

    def value(array: np.ndarray) -> object:
        return _instance(Ch, x=array, _dirty_vars=set(), _itr=None, _depends_on_deps=None)

    # a file holds more shape directions than the model shows
    shapedirs = model["shapedirs"]
    more = np.concatenate([shapedirs, shapedirs[..., ::-1]], 2)
    chosen = np.arange(more.size).reshape(more.shape)[..., : shapedirs.shape[2]]
    selected = _instance(Select, a=value(more), idxs=chosen.ravel(), preferred_shape=shapedirs.shape)
    wrapped = {"shapedirs": selected, "v_template": value(model["v_template"]), "posedirs": value(model["posedirs"])}
    with patch.dict(sys.modules, modules):
        return pickle.dumps(model | wrapped, protocol=2)


def _instance(kind: type, **attributes: object) -> object:
    made = kind()
    made.__dict__.update(attributes)
    return made
