import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from handgap.core.errors import ConfigError
from handgap.core.images import encode_depth, encode_mask, encode_rgb
from handgap.core.seeds import rng
from handgap.export.formats import export_stores
from handgap.export.handsynthesis import to_files
from handgap.hands.skin.model import TextureModel
from handgap.render.nimble_sample import read_sample
from handgap.render.released import to_camera
from labelled_hands import write_hands
from nimble_folder import egg, labels
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.conftest import ROOT

OPTIONS = {"split": "train", "code": "c0de", "table": ROOT / "config/assets.csv"}
TURNS = [np.array([0.3, -0.2, 0.5]), np.array([-1.0, 0.4, 0.1]), np.array([0.0, 2.0, 0.0])]
PLACES = [np.array([0.02, -0.01, 0.6]), np.array([0.0, 0.03, 0.45]), np.array([-0.05, 0.0, 0.7])]


def nearest(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertex of the egg next to each annotation vertex (778,), and how far it is, metres."""
    distances = np.linalg.norm(labels()[1][:, None] * 1e-3 - points[None], axis=2)
    return distances.argmin(1), distances.min(1)


def egg_hand(path: Path) -> Path:
    """A render hand that is an egg: rigid, its root at the origin; two vertices that no face uses come first."""
    points, faces = egg()
    points = np.concatenate([[[0.3, 0, 0], [0, 0.3, 0]], points * 1e-3])
    n, faces = len(points), faces + 2
    weights = np.zeros((n, 25))
    weights[:, 0] = 1
    np.savez(
        path,
        v_template=points,
        shapedirs=np.zeros((n, 3, 20)),
        weights=weights,
        parents=np.array([-1, 0, 1, 2, 3, 0, 5, 6, 7, 8, 0, 10, 11, 12, 13, 0, 15, 16, 17, 18, 0, 20, 21, 22, 23]),
        J_template=np.zeros((25, 3)),
        J_shapedirs=np.zeros((25, 3, 20)),
        pose_mean=np.zeros(57),
        pose_components=np.eye(57),
        pose_std=np.ones(57),
        mano_vertices=np.repeat(nearest(points)[0][:, None], 3, 1),
        mano_weights=np.full((778, 3), 1 / 3),
        faces_stump=faces,
        uv=0.5 + 0.4 * points[:, [0, 2]],
        uv_faces_stump=faces,
        licence="egg",
    )
    return path


def skins(path: Path) -> Path:
    generator = rng(0, "tests/skins")
    arrays = {}
    for name, channels in (("diffuse", 3), ("normal", 3), ("roughness", 1)):
        arrays[f"{name}_mean"] = generator.random((8, 8, channels))
        arrays[f"{name}_basis"] = generator.normal(size=(2, 8, 8, channels))
        arrays[f"{name}_std"] = np.full(2, 0.1)
    np.savez(path, **arrays)
    return path


def eggs(topology: str = "mano", left: tuple[int, ...] = ()) -> dict:
    """Columns of three turned eggs; a left one's labels are mirrored, its render parameters are the right one's."""
    joints, vertices = (points * 1e-3 for points in labels())
    rows = []
    for k, (turn, place) in enumerate(zip(TURNS, PLACES, strict=True)):
        posed = [Rotation.from_rotvec(turn).apply(points) + place for points in (joints, vertices)]
        mirror = np.array([-1 if k in left else 1, 1, 1])
        rows.append({"joints": posed[0] * mirror, "vertices": posed[1] * mirror, "render_trans": place})
    columns = {name: np.stack([row[name] for row in rows]).astype(np.float32) for name in rows[0]}
    if topology != "mano":
        columns["vertices"] = columns["vertices"][:, ::-1]
    pose = np.zeros((3, 60), np.float32)
    pose[:, :3] = TURNS
    mask = np.zeros((12, 16), np.uint8)
    mask[2:5, 3:9], mask[6:] = 1, 2
    return columns | {
        "id": np.array([4, 10, 200]),
        "render_pose": pose,
        "render_shape": np.zeros((3, 20), np.float32),
        "texture": np.array([[0.0, 0.0], [1.0, -1.0], [2.0, 0.5]], np.float32),
        "image": [encode_rgb(np.full((12, 16, 3), 10 * k, np.uint8)) for k in range(3)],
        "mask": [encode_mask(mask)] * 3,
        "depth": [encode_depth(mask * 0.25)] * 3,
        "K": np.repeat(np.array([[[50.0, 0, 7], [0, 50, 6], [0, 0, 1]]], np.float32), 3, 0),
        "side": np.array([k in left for k in range(3)], np.uint8),
        "residual_mm": np.full(3, 1e3 * nearest(egg()[0] * 1e-3)[1].mean(), np.float32),
        "valid": np.ones(3, bool),
    }


def export(tmp_path: Path, columns: dict, *, textures: bool = True) -> Path:
    store, out = write_hands(tmp_path / "a.h5", columns), tmp_path / "out"
    models = {"render_hand": egg_hand(tmp_path / "egg.npz")}
    if textures:
        models["textures"] = skins(tmp_path / "skins.npz")
    export_stores("handsynthesis", [store], out, **OPTIONS, **models)
    return out


def test_the_reader_of_the_release_finds_skin_labels_and_maps_where_the_store_has_them(tmp_path: Path) -> None:
    columns = eggs()
    out = export(tmp_path, columns)
    folders = sorted(path for path in (out / "samples").iterdir())
    assert [path.name for path in folders] == ["00000004", "00000010", "00000200"]
    model = TextureModel.load(tmp_path / "skins.npz")
    points, faces = egg()
    for k, folder in enumerate(folders):
        sample = read_sample(folder)
        posed = Rotation.from_rotvec(TURNS[k]).apply(points * 1e-3) + PLACES[k]
        np.testing.assert_allclose(to_camera(sample.points, 0), posed, atol=1e-6)
        np.testing.assert_array_equal(sample.faces, faces)
        np.testing.assert_allclose(sample.uv[2:], 0.5 + 0.4e-3 * points[:, [0, 2]], atol=1e-6)
        np.testing.assert_allclose(to_camera(sample.joints, 0), columns["joints"][k], atol=1e-6)
        np.testing.assert_allclose(to_camera(sample.vertices, 0), columns["vertices"][k], atol=1e-6)
        maps = model.maps(columns["texture"][k])
        np.testing.assert_array_equal(sample.maps["diffuse"], maps["diffuse"])
        np.testing.assert_array_equal(sample.maps["normal"], maps["normal"])
        assert (sample.maps["specular"] == 128).all()
        np.testing.assert_array_equal(Image.open(folder / "roughness.png"), maps["roughness"][..., 0])


def test_other_readers_of_obj_see_the_same_skin(tmp_path: Path) -> None:
    out = export(tmp_path, eggs())
    mesh = trimesh.load(out / "samples/00000004/skin.obj", process=False)
    assert mesh.is_watertight and mesh.faces.shape == egg()[1].shape


def test_images_cameras_and_masks_lie_where_the_release_has_them(tmp_path: Path) -> None:
    out = export(tmp_path, eggs())
    assert np.asarray(Image.open(out / "images/rgb_1/00000010.png"))[0, 0].tolist() == [10] * 3
    hand = np.asarray(Image.open(out / "images/segmentation_1/00000010.png"))
    assert set(np.unique(hand)) == {0, 255} and (hand == 255).sum() == 18
    assert np.asarray(Image.open(out / "images/depth_1/00000010.png")).max() == 500
    (camera, *others) = json.loads((out / "cam_RT_syn_data_0.json").read_text())
    assert camera == [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.5], [0, 0, 0, 1]] and others == [camera] * 2
    assert json.loads((out / "ids.json").read_text()) == [4, 10, 200]
    assert json.loads((out / "samples/00000010/K.json").read_text()) == [[50, 0, 7], [0, 50, 6], [0, 0, 1]]


def test_a_point_before_the_camera_lies_where_the_release_puts_it() -> None:
    np.testing.assert_allclose(to_files(np.array([0.01, -0.02, 0.6])), [10.0, 100.0, 20.0], atol=1e-9)


def test_a_left_hand_is_its_mirror_image_skin_and_labels_alike(tmp_path: Path) -> None:
    out = export(tmp_path, eggs(left=(1,)))
    sample = read_sample(out / "samples/00000010")
    np.testing.assert_allclose(to_camera(sample.joints, 0), eggs()["joints"][1], atol=1e-6)
    hand = np.asarray(Image.open(out / "images/segmentation_1/00000010.png"))
    assert np.flatnonzero(hand.any(0)).tolist() == [7, 8, 9, 10, 11, 12]
    assert json.loads((out / "samples/00000010/K.json").read_text())[0][2] == 16 - 7


def test_vertices_of_another_mesh_do_not_pass_for_manos(tmp_path: Path) -> None:
    columns = eggs("other")
    del columns["residual_mm"]  # its annotation hand is not the one that the egg knows
    out = export(tmp_path, columns)
    folder = out / "samples/00000004"
    assert not (folder / "manov.json").exists()
    assert len(json.loads((folder / "annotation_vertices.json").read_text())) == 778
    assert read_sample(folder).vertices is None


def test_without_textures_the_skin_is_plain(tmp_path: Path) -> None:
    out = export(tmp_path, eggs(), textures=False)
    assert not list(out.glob("samples/*/*.png"))
    assert read_sample(out / "samples/00000004", textured=False).maps == {}


def test_another_render_hand_than_the_fits_is_refused(tmp_path: Path) -> None:
    columns = eggs()
    columns["render_trans"] = columns["render_trans"] + np.float32(0.002)
    with pytest.raises(ConfigError, match=r"a\.h5\[0\] was fitted with another hand"):
        export(tmp_path, columns)


def test_a_store_without_render_hands_is_refused_with_the_column(tmp_path: Path) -> None:
    columns = eggs()
    del columns["render_pose"]
    with pytest.raises(ConfigError, match="no column 'render_pose'"):
        export(tmp_path, columns)
    assert not (tmp_path / "out").exists()
