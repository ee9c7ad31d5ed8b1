"""A folder with NIMBLE's four pickles in all their keys, shapes and types, made from OpenNimble."""

import pickle
from pathlib import Path

import numpy as np
import torch
import trimesh
from handgap.hands import mesh
from handgap.hands.correspondence import closest_on_surface
from scipy.spatial.distance import cdist

N_VERTICES, N_SKIN, N_USED, N_UV, N_MAPS = 14970, 5990, 4994, 5330, 20
N_MUSCLES = 7
# from the open rest frame to NIMBLE's: x to the thumb, y out of the back, z along the fingers; wrist here, in mm
FRAME = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
ORIGIN = np.array([9.6, -22.9, -102.2])


def to_nimble(points: np.ndarray) -> np.ndarray:
    """Points (..., 3) of the open rest frame, metres -> NIMBLE's, mm."""
    return 1e3 * points @ FRAME.T + ORIGIN


def write_nimble_assets(folder: Path, model: Path, texture_size: int) -> dict[str, np.ndarray | int]:
    """Write the folder.

    The skin is OpenNimble's, thinned to 4,994 vertices and padded with 996 that no face uses; the bones are one ball
    round each joint, the muscles seven balls in the palm. Pose blend shapes are random, of up to a millimetre.

    Args:
        folder: where to.
        model: OpenNimble's file.
        texture_size: edge of the textures; NIMBLE's is 1024, of 377 MB.

    Returns:
        What NIMBLE_DICT_9137.pkl and NIMBLE_MANO_VREG.pkl hold, as NumPy arrays before they were rounded to float32.
    """
    g = np.random.default_rng(0)
    with np.load(model) as file:
        open_hand = {name: file[name].astype(np.float64) for name in file.files if file[name].dtype.kind == "f"}
        faces_stump = file["faces_stump"].astype(np.int64)
        annotation = (file["v_template"][file["mano_vertices"]] * file["mano_weights"][..., None]).sum(1)
    skin = _skin(open_hand, faces_stump, g)
    bones, muscles = _bones(open_hand), _muscles(open_hand, g)
    parts = (bones, muscles, skin)
    rest, weights = (np.concatenate([part[name] for part in parts]) for name in ("rest", "weights"))
    directions = np.concatenate([part["directions"] for part in parts])
    n_bone, n_shape, n_pose = len(bones["rest"]), 24, 57

    shape_mean, shape_std = g.normal(0, 0.3, n_shape), g.uniform(5, 50, n_shape)
    basis = g.normal(0, 0.01, (n_shape, N_VERTICES, 3))
    basis[:20] = np.moveaxis(1e3 * np.einsum("ij,vjs->vis", FRAME, directions), 2, 0) / shape_std[:20, None, None]
    # zero coefficients are OpenNimble's mean
    template = to_nimble(rest) - np.einsum("s,svc->vc", shape_mean[:20], basis[:20])
    turn = np.kron(np.eye(19), FRAME)
    on_surface = np.isin(np.arange(N_SKIN), skin["faces"])
    apart = on_surface[:, None] != on_surface
    model = {
        "vert": template,
        "face": np.concatenate([bones["faces"], n_bone + muscles["faces"], N_VERTICES - N_SKIN + skin["faces"]]),
        "bone_v_sep": n_bone,
        "skin_v_sep": -N_SKIN,
        "bone_f": bones["faces"],
        "muscle_f": muscles["faces"],
        "skin_f": skin["faces"],
        "all_sw": weights,
        "all_pbs": g.normal(0, 0.3, (N_VERTICES, 3, 171)),
        "jreg_bone": np.repeat(np.eye(25), n_bone // 25, 1) / (n_bone // 25),
        "jreg_mano": _rows(g.random((21, N_SKIN)) ** 200),
        "shape_basis": basis.reshape(n_shape, -1),
        "shape_pm_mean": shape_mean,
        "shape_pm_std": shape_std,
        "pose_basis": open_hand["pose_components"] @ turn.T,
        "pose_mean": turn @ open_hand["pose_mean"],
        "pose_pm_mean": g.normal(0, 0.05, n_pose),
        "pose_pm_std": open_hand["pose_std"],
        "skin_v_surface_mask": on_surface,
        # straight lines: the converter looks at lengths alone
        "skin_v_gd": np.where(apart, np.inf, cdist(to_nimble(skin["rest"]), to_nimble(skin["rest"]))),
    }
    # one map for each of twenty hands that do not lie on each other exactly
    pairs = [annotation + g.normal(0, 3e-4, annotation.shape) for _ in range(N_MAPS)]
    faces, bary, _ = zip(*(closest_on_surface(pair, skin["rest"], skin["faces"]) for pair in pairs), strict=True)
    maps = {"lmk_faces_idx": np.stack(faces), "lmk_bary_coords": np.stack(bary)}
    folder.mkdir(parents=True, exist_ok=True)
    _dump(folder / "NIMBLE_DICT_9137.pkl", {key: _tensor(value) for key, value in model.items()})
    _dump(folder / "NIMBLE_MANO_VREG.pkl", {key: _tensor(value) for key, value in maps.items()})
    _dump(folder / "NIMBLE_TEX_FUV.pkl", _text_lines(skin["rest"], skin["faces"]))
    _dump(folder / "NIMBLE_TEX_DICT.pkl", {kind: _texture(texture_size, g) for kind in ("diffuse", "normal", "spec")})
    return model | maps


def _dump(path: Path, value: object) -> None:
    with path.open("wb") as stream:
        pickle.dump(value, stream)


def _tensor(value: np.ndarray | int) -> torch.Tensor | int:
    """As the assets have it: float32 and int64 tensors, plain whole numbers."""
    if isinstance(value, int):
        return value
    return torch.from_numpy(value.astype(np.float32) if value.dtype.kind == "f" else value.copy())


def _rows(values: np.ndarray) -> np.ndarray:
    return values / values.sum(1, keepdims=True)


def _skin(hand: dict, faces: np.ndarray, g: np.random.Generator) -> dict:
    """Closed stump of 4,994 vertices; 15 of them lie among the unused ones at the end, as in NIMBLE."""
    ring = faces[(faces == faces.max()).any(1)]
    shell = faces[(faces != faces.max()).all(1)]  # without the cap, whose centre is the last vertex
    n_ring = len(ring)
    vertices = hand["v_template"][: faces.max() + 1]
    ids, thin = mesh.decimate(vertices[:-1], shell, N_USED - 1 - n_ring, n_ring, np.ones(len(vertices) - 1))
    loop = mesh.boundary_loop(thin)
    cap = np.stack([np.roll(loop, -1), loop, np.full(n_ring, N_USED - 1)], 1)
    used = np.append(ids, faces.max())
    place = np.append(np.arange(4979), np.sort(4979 + g.choice(N_SKIN - 4979, N_USED - 4979, replace=False)))
    inner = np.setdiff1d(np.arange(N_SKIN), place)
    source = g.choice(used, len(inner))  # an unused vertex lies between the surface and the root, or beyond
    depth = g.uniform(-0.5, 0.9, (len(inner), 1))
    out = {"faces": place[np.concatenate([thin, cap])]}
    weights = hand["weights"][:, :25].copy()
    weights[:, 0] += hand["weights"][:, 25]
    for name, values, root in (
        ("rest", hand["v_template"], hand["J_template"][0]),
        ("directions", hand["shapedirs"].reshape(-1, 60), hand["J_shapedirs"][0].ravel()),
        ("weights", weights, None),
    ):
        out[name] = np.empty((N_SKIN, values.shape[1]))
        out[name][place] = values[used]
        out[name][inner] = values[source] if root is None else values[source] + depth * (root - values[source])
    return out | {"directions": out["directions"].reshape(N_SKIN, 3, 20)}


def _bones(hand: dict) -> dict:
    """A ball of 162 vertices round each joint, whose mean is the joint; it moves with the joint."""
    ball = trimesh.creation.icosphere(2, 0.003)
    n = len(ball.vertices)
    return {
        "rest": (hand["J_template"][:, None] + ball.vertices).reshape(-1, 3),
        "directions": np.repeat(hand["J_shapedirs"], n, 0),
        "weights": np.repeat(np.eye(25), n, 0),
        "faces": (ball.faces + n * np.arange(25)[:, None, None]).reshape(-1, 3),
    }


def _muscles(hand: dict, g: np.random.Generator) -> dict:
    """Seven balls of 642 vertices along the metacarpals, and loose points as in the inside of tetrahedral meshes."""
    ball = trimesh.creation.icosphere(3, 0.005)
    n = len(ball.vertices)
    count = N_VERTICES - N_SKIN - 25 * 162
    joints = np.array([1, 2, 5, 6, 11, 16, 21])
    rest = (hand["J_template"][joints][:, None] + ball.vertices).reshape(-1, 3)
    source = np.append(np.arange(len(rest)), g.choice(len(rest), count - len(rest)))
    of_joint = joints[source // n]
    return {
        "rest": rest[source],
        "directions": hand["J_shapedirs"][of_joint],
        "weights": np.eye(25)[of_joint],
        "faces": (ball.faces + n * np.arange(N_MUSCLES)[:, None, None]).reshape(-1, 3),
    }


def _text_lines(vertices: np.ndarray, faces: np.ndarray) -> list[str]:
    """OBJ's vt and f lines: the back and the palm as two islands, so that 336 seam vertices have two coordinates."""
    corners = vertices[faces]
    palmar = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] < 0
    used = np.unique(faces)
    number = np.searchsorted(used, faces)
    seam = np.intersect1d(number[palmar], number[~palmar])[: N_UV - N_USED]
    assert len(seam) == N_UV - N_USED
    twin = np.arange(N_USED)
    twin[seam] = np.arange(N_USED, N_UV)
    coordinate = np.where(palmar[:, None], twin[number], number)
    flat = vertices[used][:, :2]
    flat = 0.056 + 0.4 * (flat - flat.min(0)) / np.ptp(flat, axis=0).max()
    lines = [f"vt {u:.6f} {v:.6f}\n" for u, v in np.concatenate([flat + 0.4, flat[seam]])]
    lines += ["usemtl material_0\n", "# faces\n"]
    for vertex, at in zip((faces + 1).tolist(), (coordinate + 1).tolist(), strict=True):
        lines.append("f " + " ".join(f"{v}/{t}/{v}" for v, t in zip(vertex, at, strict=True)) + "\n")
    return lines


def _texture(size: int, g: np.random.Generator) -> dict:
    count = 3 * size * size
    return {
        "basis": torch.from_numpy(g.standard_normal((count, 10), np.float32) * 1e-3),
        "mean": torch.from_numpy(g.random(count, np.float32)),
        "std": torch.from_numpy(np.linspace(20, 2, 10, dtype=np.float32)),
    }
