"""NIMBLE's assets converted, and its layer against a plain transcription of the published forward pass."""

import pickle
import re

import numpy as np
import pytest
import torch
import trimesh
from handgap.core.conventions import MM, NIMBLE_BONES, NIMBLE_PARENTS
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.core.files import read_arrays
from handgap.core.provenance import file_sha256
from handgap.hands.collision import MuscleCollision, inside
from handgap.hands.convert.nimble import convert_nimble, read_hand
from handgap.hands.render_hand import PART_FACES, RenderHand
from nimble_assets import to_nimble, write_nimble_assets
from scipy.spatial.transform import Rotation

GEOMETRY, TEXTURE_UV = "NIMBLE_DICT_9137.pkl", "NIMBLE_TEX_FUV.pkl"


@pytest.fixture(scope="module")
def nimble(made, tmp_path_factory):
    """Asset folder, what was written to it, the converted file and its arrays."""
    folder = tmp_path_factory.mktemp("nimble")
    model = write_nimble_assets(folder / "assets", made / "models" / "open_nimble.npz", texture_size=32)
    convert_nimble(folder / "assets", folder / "nimble.npz")
    return folder / "assets", model, folder / "nimble.npz", read_arrays(folder / "nimble.npz")


@pytest.fixture(scope="module")
def stored(nimble):
    """NIMBLE_DICT_9137.pkl as it lies in the folder."""
    return _unpickled(nimble[0] / GEOMETRY)


def _unpickled(path):
    with path.open("rb") as stream:
        return pickle.load(stream)


def _upstream(model, pose, betas, use_pose_pca):
    """NIMBLE's forward pass for one hand, in float64 and mm: bone, muscle and skin (V, 3), joints (25, 3)."""
    b = betas * model["shape_pm_std"][:20] + model["shape_pm_mean"][:20]
    shaped = model["vert"] + np.einsum("s,sk->k", b, model["shape_basis"][:20]).reshape(-1, 3)
    joints = model["jreg_bone"] @ shaped[: model["bone_v_sep"]]
    if use_pose_pca:
        p = pose * model["pose_pm_std"][:30] + model["pose_pm_mean"][:30]
        pose = np.append(np.zeros(3), model["pose_basis"][:30].T @ p + model["pose_mean"])
    turns = np.stack([_turn_by_quaternion(bone) for bone in pose.reshape(20, 3)])
    feature = (turns[1:] - np.eye(3)).ravel()
    posed = shaped + model["all_pbs"] @ feature
    rotation = {int(joint): turns[bone] for bone, joint in enumerate(NIMBLE_BONES)}
    world = []
    for k, parent in enumerate(NIMBLE_PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotation.get(k, np.eye(3))
        local[:3, 3] = joints[k] - (joints[parent] if k else 0)
        world.append(world[parent] @ local if k else local)
    world = np.stack(world)
    moves = world.copy()
    moves[:, :3, 3] -= np.einsum("jxy,jy->jx", world[:, :3, :3], joints)
    blended = np.einsum("vj,jxy->vxy", model["all_sw"], moves)
    return np.einsum("vxy,vy->vx", blended[:, :3, :3], posed) + blended[:, :3, 3], world[:, :3, 3]


def _turn_by_quaternion(axis_angle):
    angle = np.linalg.norm(axis_angle + 1e-8)
    w, (x, y, z) = np.cos(angle / 2), np.sin(angle / 2) * axis_angle / angle
    w, x, y, z = np.array([w, x, y, z]) / np.linalg.norm([w, x, y, z])
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (w * y + x * z)],
            [2 * (w * z + x * y), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (w * x + y * z), w * w - x * x - y * y + z * z],
        ]
    )


@pytest.mark.parametrize("use_pose_pca", [True, False])
def test_layer_is_the_published_forward_pass(nimble, use_pose_pca):
    _, model, path, _ = nimble
    g = np.random.default_rng(3)
    pose = g.uniform(-1, 1, (4, 30)) if use_pose_pca else g.normal(0, 0.4, (4, 60))
    pose[0] = 0  # the rest pose, where upstream's rotation is not exactly the identity
    betas = g.uniform(-1, 1, (4, 20))
    split, skin_start = model["bone_v_sep"], len(model["vert"]) + model["skin_v_sep"]
    rows = {"bone": slice(split), "muscle": slice(split, skin_start), "skin": slice(skin_start, None)}
    expected = [_upstream(model, *inputs, use_pose_pca) for inputs in zip(pose, betas, strict=True)]
    with torch.inference_mode():
        for part in PART_FACES:
            hand = RenderHand.load(path, part)
            full = torch.from_numpy(pose).float()
            if use_pose_pca:
                full = torch.cat([torch.zeros(4, 3), hand.pose_from_components(full)], 1)
            out = hand(full, torch.from_numpy(betas).float(), torch.zeros(4, 3))
            for k, (vertices, joints) in enumerate(expected):
                np.testing.assert_allclose(out.vertices[k], MM * vertices[rows[part]], atol=1e-6, rtol=0)
                np.testing.assert_allclose(out.joints25[k], MM * joints, atol=1e-6, rtol=0)
    assert np.abs(expected[1][0] - expected[2][0]).max() > 10


def test_root_turns_scales_and_moves_the_hand(nimble):
    hand = RenderHand.load(nimble[2]).double()
    g = torch.Generator().manual_seed(1)
    pose, shape, trans = (0.3 * torch.randn(2, n, generator=g, dtype=torch.double) for n in (60, 20, 3))
    scale = torch.tensor([1.0, 1.3], dtype=torch.double)
    still = pose.clone()
    still[:, :3] = 0
    rest = hand(still, shape, torch.zeros(2, 3, dtype=torch.double))
    out = hand(pose, shape, trans, scale=scale)
    for k in range(2):
        turn = Rotation.from_rotvec(pose[k, :3].numpy()).as_matrix()
        root = rest.joints25[k, 0].numpy()
        for found, before in ((out.vertices, rest.vertices), (out.joints25, rest.joints25)):
            expected = scale[k].item() * (before[k].numpy() - root) @ turn.T + root + trans[k].numpy()
            np.testing.assert_allclose(found[k], expected, atol=1e-9)
    torch.testing.assert_close(out.joints21[:, 1:5], out.joints25[:, 1:5])
    torch.testing.assert_close(out.joints21[:, 5], out.joints25[:, 6])


def test_gradients_of_every_input(nimble):
    with np.load(nimble[2]) as file:
        arrays = {name: file[name] for name in file.files if not name.startswith("geodesic")}
    hand = RenderHand(arrays).double()
    g = torch.Generator().manual_seed(0)
    pose, shape, trans = (0.3 * torch.randn(2, n, generator=g, dtype=torch.double) for n in (60, 20, 3))
    inputs = [x.requires_grad_() for x in (pose, shape, trans, torch.tensor([0.9, 1.1], dtype=torch.double))]

    def points(pose, shape, trans, scale):
        out = hand(pose, shape, trans, scale=scale)
        return out.vertices[:, ::500], out.joints25, hand.to_annotation(out.vertices)[:, ::100]

    assert torch.autograd.gradcheck(points, inputs, fast_mode=True)
    assert torch.autograd.gradcheck(
        lambda c: hand.pose_from_components(c), torch.randn(2, 30, dtype=torch.double, requires_grad=True)
    )


def test_rest_hand_and_joints_are_those_it_was_made_from(nimble, made):
    """Folding in the normalisation: zero coefficients are the mean, and the joints follow the shape."""
    arrays = nimble[3]
    with np.load(made / "models" / "open_nimble.npz") as file:
        joints, directions = file["J_template"].astype(float), file["J_shapedirs"].astype(float)
    betas = np.random.default_rng(1).normal(size=20)
    found = arrays["J_template"] + arrays["J_shapedirs"] @ betas
    np.testing.assert_allclose(found, MM * to_nimble(joints + directions @ betas), atol=1e-7)


def test_skin_is_closed_and_its_surface_leaves_the_inner_vertices_out(nimble):
    hand = RenderHand.load(nimble[2])
    assert hand.v_template.shape == (5990, 3)
    assert len(hand.surface) == 4994 and hand.faces.shape == (9984, 3)
    mesh = trimesh.Trimesh(hand.v_template.numpy(), hand.faces)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.volume > 0
    assert nimble[3]["surface_mask"][hand.surface].all() and nimble[3]["surface_mask"].sum() == 4994


def test_annotation_map_is_the_mean_of_the_barycentric_maps(nimble):
    _, model, path, arrays = nimble
    hand = RenderHand.load(path)
    skin = torch.from_numpy(np.random.default_rng(4).normal(size=(1, 5990, 3))).float()
    corners = skin[0].numpy()[model["skin_f"][model["lmk_faces_idx"]]]
    expected = (corners * model["lmk_bary_coords"][..., None]).sum(2).mean(0)
    np.testing.assert_allclose(hand.to_annotation(skin)[0], expected, atol=1e-5)
    assert np.isin(arrays["mano_vertices"], hand.surface).all()
    assert arrays["mano_weights"].shape[1] > 3


def test_texture_coordinates_follow_the_text_lines(nimble):
    folder, _, _, arrays = nimble
    lines = _unpickled(folder / TEXTURE_UV)
    coordinates = [line.split()[1:] for line in lines if line.startswith("vt")]
    corners = [[c.split("/") for c in line.split()[1:]] for line in lines if line.startswith("f ")]
    for k in (0, 17, 5000, 9983):
        np.testing.assert_array_equal(arrays["faces_stump"][k] + 1, [int(c[0]) for c in corners[k]])
        expected = [[float(x) for x in coordinates[int(c[1]) - 1]] for c in corners[k]]
        np.testing.assert_allclose(arrays["uv"][arrays["uv_faces_stump"][k]], expected, atol=1e-6)
    assert len(np.unique(arrays["uv_faces_stump"])) == 5330


@pytest.mark.parametrize(("name", "key"), [("diffuse", "diffuse"), ("normal", "normal"), ("specular", "spec")])
def test_textures_are_upstreams_in_rgb(nimble, name, key):
    folder, _, path, _ = nimble
    model = {k: v.double().numpy() for k, v in _unpickled(folder / "NIMBLE_TEX_DICT.pkl")[key].items()}
    with np.load(path.with_name("nimble_textures.npz")) as file:
        mean, basis, std = (file[f"{name}_{part}"] for part in ("mean", "basis", "std"))
    alpha = np.random.default_rng(5).uniform(-1, 1, 10)
    bgr = (model["mean"] + model["basis"][:, :10] @ (alpha * model["std"][:10])).reshape(32, 32, 3)
    np.testing.assert_allclose(mean + np.tensordot(alpha * std, basis, 1), bgr[..., ::-1], atol=1e-5)


def test_geodesics_keep_what_is_near(nimble):
    _, model, _, arrays = nimble
    bounds = arrays["geodesic_indptr"]
    for row in (0, 3333, 5989):
        near = np.flatnonzero((model["skin_v_gd"][row] > 0) & (model["skin_v_gd"][row] <= 30))
        np.testing.assert_array_equal(arrays["geodesic_indices"][bounds[row] : bounds[row + 1]], near)
        found = arrays["geodesic_distances"][bounds[row] : bounds[row + 1]]
        np.testing.assert_allclose(found, MM * model["skin_v_gd"][row, near], atol=1e-8)


def test_same_folder_gives_the_same_bytes(nimble, tmp_path):
    folder, _, path, _ = nimble
    convert_nimble(folder, tmp_path / "nimble.npz")
    for name in ("nimble.npz", "nimble_textures.npz"):
        assert file_sha256(tmp_path / name) == file_sha256(path.with_name(name))


def test_a_batch_of_one_and_places_from_the_other_end_mean_the_same(nimble, stored, tmp_path):
    folder, model, path, _ = nimble
    # `face` is used by nobody
    places = {"bone_v_sep": model["bone_v_sep"] - 14970, "skin_v_sep": torch.tensor(14970 - 5990), "face": None}
    variant = {GEOMETRY: _batched(stored | places)}
    variant |= {name: _batched(_unpickled(folder / name)) for name in ("NIMBLE_TEX_DICT.pkl", "NIMBLE_MANO_VREG.pkl")}
    convert_nimble(_variant(folder, tmp_path, variant), tmp_path / "nimble.npz")
    for name in ("nimble.npz", "nimble_textures.npz"):
        expected, found = read_arrays(path.with_name(name)), read_arrays(tmp_path / name)
        assert expected.keys() == found.keys()
        assert all(np.array_equal(found[key], expected[key]) for key in found if key != "source")


def _batched(value):
    """The same with a leading axis of one on every tensor."""
    if isinstance(value, dict):
        return {key: _batched(item) for key, item in value.items()}
    return value[None] if isinstance(value, torch.Tensor) else value


def _variant(folder, to, values):
    """The same folder with other values in some of its files."""
    for path in folder.iterdir():
        if path.name not in values:
            (to / path.name).symlink_to(path)
    for name, value in values.items():
        with (to / name).open("wb") as stream:
            pickle.dump(value, stream)
    return to


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("jreg_bone", None, ["jreg_bone", "found only the keys", "all_sw"]),
        ("all_sw", torch.zeros(14970, 24), [r"all_sw: expected .*\(14970, 25\)", r"found .*\(14970, 24\)"]),
        ("shape_basis", torch.zeros(19, 3 * 14970), [r"shape_basis: expected .*>=20, 44910", r"\(19, 44910\)"]),
        ("pose_mean", torch.full((57,), torch.nan), ["pose_mean: expected finite"]),
        ("skin_v_sep", -778, ["bone_v_sep, skin_v_sep", "-5990"]),
        ("skin_f", torch.full((9984, 3), 5990), [r"skin_f: expected ids in \[0, 5990\)", "5990"]),
        ("vert", "here", ["vert: expected numbers"]),
    ],
)
def test_a_wrong_key_is_named_with_what_was_expected(nimble, stored, tmp_path, key, value, words):
    # the distances are large, and looked at last
    model = {name: found for name, found in stored.items() if name not in (key, "skin_v_gd")}
    values = {GEOMETRY: model if value is None else model | {key: value}}
    with pytest.raises(CorruptFileError) as caught:
        read_hand(_variant(nimble[0], tmp_path, values))
    for word in (GEOMETRY, *words):
        assert re.search(word, str(caught.value))


def test_texture_faces_stay_within_the_skin(nimble, tmp_path):
    lines = _unpickled(nimble[0] / TEXTURE_UV)
    values = {TEXTURE_UV: [*lines[:-1], "f 1/1/1 2/2/2 5991/3/5991\n"]}
    with pytest.raises(CorruptFileError, match="a vertex outside 1"):
        read_hand(_variant(nimble[0], tmp_path, values))


def test_a_missing_file_is_named(nimble, tmp_path):
    for path in nimble[0].iterdir():
        if path.name != "NIMBLE_MANO_VREG.pkl":
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(MissingAssetError, match=r"NIMBLE_MANO_VREG\.pkl"):
        convert_nimble(tmp_path, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_collision_step_lifts_the_skin_of_a_converted_hand(nimble):
    path, arrays = nimble[2], nimble[3]
    skin, muscle = (RenderHand.load(path, part).v_template.numpy() for part in ("skin", "muscle"))
    surface = np.flatnonzero(arrays["surface_mask"])
    # one of the balls comes to lie in the skin
    muscle = muscle + skin[surface[2000]] - muscle[:642].mean(0)
    (found,) = MuscleCollision.load(path)(skin[None], muscle[None])
    before, after = (inside(points[surface], muscle, arrays["faces_muscle"]) for points in (skin, found))
    assert before.sum() > 5 and after.sum() < before.sum() / 2
    moved = np.linalg.norm(found - skin, axis=1)
    far = np.linalg.norm(skin[:, None] - skin[surface[before]], axis=2).min(1) > 0.030
    assert np.isfinite(found).all() and (moved[surface[before]] > 0.002 * 0.7).all() and not moved[far].any()


def test_the_open_hand_has_no_muscle(made):
    with pytest.raises(HandgapError, match="no muscle"):
        RenderHand.load(made / "models" / "open_nimble.npz", "muscle")
