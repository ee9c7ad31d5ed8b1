import csv
import json

import numpy as np
import pytest
import torch
import trimesh
from handgap.cli import app
from handgap.core.config.networks import CmrNetwork, SimpleHandNetwork
from handgap.core.conventions import MIDDLE_MCP, Side
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.core.geometry import project
from handgap.data.crop import hand_crop
from handgap.networks.base import Prediction
from handgap.networks.build import build
from handgap.report.draw import draw_mesh
from handgap.segment.boxes import prior_from_landmarks
from handgap.segment.detect import sighting_of
from handgap.segment.photo_run import photos_at
from handgap.train.model_file import save_model
from handgap.use.checkpoint import Checkpoint, load_checkpoint
from handgap.use.cli import predict
from handgap.use.photo_hands import PhotoHands, intrinsics
from handgap.use.predict import PRODUCTS, mesh_text, overlay_of, predict_photos
from PIL import Image
from toy_meshes import toy_hierarchy
from toys import toy_columns
from typer.testing import CliRunner

SIZE, EXPANSION = 96, 1.25
HEIGHT, WIDTH, FOCAL = 900, 1500, 1600.0
TINY = "test_efficientnet"


def truth_of(hand, side):
    """Joints and vertices of a hand away from the photo's middle, metres, camera frame."""
    columns = toy_columns(hand, range(1))
    mirror = np.array([-1.0 if side is Side.LEFT else 1.0, 1.0, 1.0])
    joints, vertices = (columns[name][0].astype(np.float64) * mirror for name in ("joints", "vertices"))
    move = np.array([0.15, -0.08, 0.6]) - joints[MIDDLE_MCP]
    return joints + move, vertices + move


class Oracle:
    """A finder that sees the true joints, and a network that predicts them in its own crop."""

    def __init__(self, hand, sides, factor=1.0):
        self.truths = [truth_of(hand, side) for side in sides]
        self.sides, self.factor, self.annotation_hand, self.images = sides, factor, hand, []
        self.K = intrinsics(HEIGHT, WIDTH, FOCAL)

    def find(self, row, rgb):
        scale = np.array(rgb.shape[1::-1]) / (WIDTH, HEIGHT)
        seen = [project(joints, self.K) * scale for joints, _ in self.truths]
        priors = [prior_from_landmarks(joints, *rgb.shape[:2]) for joints in seen]
        return [sighting_of(prior, 0.05, 0.9, side) for prior, side in zip(priors, self.sides, strict=True)]

    def __call__(self, images, K):
        self.images.append(images)
        parts = []
        for (joints, vertices), side in zip(self.truths, self.sides, strict=True):
            crop = hand_crop(joints, side, SIZE, EXPANSION)
            points = crop.points(np.concatenate([joints, vertices])) - crop.points(joints)[MIDDLE_MCP]
            parts.append([points[:21] * self.factor, points[21:] * self.factor, crop.uv(joints)])
        return Prediction(*(torch.from_numpy(np.stack(part)) for part in zip(*parts, strict=True)))

    def hands_of(self, rgb):
        return PhotoHands(self.find, Checkpoint(self, SIZE, EXPANSION, {}), FOCAL)(rgb)[1]


@pytest.mark.parametrize("side", list(Side))
def test_a_perfect_network_gives_the_true_hand_in_the_camera_frame(hand, side):
    oracle = Oracle(hand, [side])
    joints, vertices = oracle.truths[0]
    photo = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x, y = project(joints, oracle.K)[8].astype(int)
    photo[y - 12 : y + 12, x - 12 : x + 12, 0] = 255
    (found,) = oracle.hands_of(photo)
    assert found.side is side
    np.testing.assert_allclose(found.joints, joints, atol=1e-5)
    np.testing.assert_allclose(found.vertices, vertices, atol=1e-5)
    np.testing.assert_allclose(found.uv, project(joints, oracle.K), atol=0.05)
    # what it saw: the tip of the index finger where the crop says
    u, v = (hand_crop(joints, side, SIZE, EXPANSION).uv(joints)[8] * SIZE).astype(int)
    assert oracle.images[0].shape == (1, 3, SIZE, SIZE)
    assert oracle.images[0][0, 0, v, u] > 0.9 and oracle.images[0][0, 1:].max() == 0
    assert oracle.images[0][0, 0, v, SIZE - 1 - u] == 0


def test_a_hand_of_another_size_is_put_where_it_fits_the_picture(hand):
    oracle = Oracle(hand, [Side.RIGHT], factor=1.2)
    (found,) = oracle.hands_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    joints = oracle.truths[0][0]
    np.testing.assert_allclose(found.joints, 1.2 * joints, atol=1e-4)
    np.testing.assert_allclose(project(found.joints, oracle.K), project(joints, oracle.K), atol=0.1)


def test_the_mirrored_hand_is_wound_the_other_way(hand):
    faces = [Oracle(hand, [side]).hands_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8))[0].faces for side in Side]
    np.testing.assert_array_equal(faces[0], hand.faces)
    np.testing.assert_array_equal(faces[1], hand.faces[:, ::-1])


def test_intrinsics_of_an_unknown_camera_have_the_diagonal_as_focal_length():
    K = intrinsics(300, 400, None)
    np.testing.assert_array_equal(K, [[500, 0, 200], [0, 500, 150], [0, 0, 1]])
    assert intrinsics(300, 400, 123.0)[0, 0] == 123


def test_a_mesh_file_is_read_as_one_object_a_hand(hand, tmp_path):
    oracle = Oracle(hand, [Side.RIGHT, Side.LEFT])
    for truth in oracle.truths[1:]:
        truth[0][:], truth[1][:] = truth[0] - [0.3, 0, 0], truth[1] - [0.3, 0, 0]
    hands = oracle.hands_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    (tmp_path / "m.obj").write_text(mesh_text(hands))
    scene = trimesh.load(tmp_path / "m.obj", process=False, split_objects=True)
    assert len(hands) == 2 and set(scene.geometry) == {"hand1_right", "hand2_left"}
    corners = scene.geometry["hand2_left"].triangles  # trimesh leaves unused vertices out
    np.testing.assert_allclose(corners, hands[1].vertices[hands[1].faces], atol=1e-6)
    assert mesh_text([]).startswith("# hands: 0")


def test_a_mesh_is_drawn_where_it_is_seen_near_faces_over_far_ones():
    K = intrinsics(100, 100, 100.0)
    square = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    near, far = 0.1 * square + [0, 0, 1], 0.4 * square + [0, 0, 2]
    tilted = far + [0, 0, 1] * far[:, :1] * 3  # seen from the side: darker
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    photo = np.full((100, 100, 3), 40, np.uint8)
    drawn = draw_mesh(photo, np.concatenate([near, tilted]), np.concatenate([faces, faces + 4]), K, (200, 0, 0), 1.0)
    assert drawn[50, 50, 0] > 190 > drawn[50, 61, 0] > 40 and drawn[50, 61, 1] == 0
    assert (drawn[:, 65:] == 40).all() and (photo == 40).all()
    half = draw_mesh(photo, near, faces, K, (200, 0, 0), 0.5)
    assert abs(int(half[50, 50, 0]) - 120) <= 2


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT), (10, 20, 30)).save(folder / "a.png")
    Image.new("L", (60, 40)).save(folder / "trip" / "größe 手.gif")
    (folder / "broken.jpg").write_bytes(b"x")
    return folder


def run(paths, out, hands, key="k"):
    calls = []

    def find(rgb):
        calls.append(rgb.shape)
        return intrinsics(*rgb.shape[:2], FOCAL), hands if rgb.shape[0] == HEIGHT else []

    found = photos_at(paths)
    PRODUCTS.require_harmless(found, out)
    return predict_photos(found, out, find, key), calls


def test_files_of_a_photo_and_the_table(hand, photos, tmp_path):
    oracle, out = Oracle(hand, [Side.LEFT]), tmp_path / "out"
    (found,) = oracle.hands_of(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    outcome, _ = run([photos], out, [found])
    content = json.loads((out / "joints/a.png.json").read_text(encoding="utf-8"))
    assert (content["height"], content["width"]) == (HEIGHT, WIDTH) and content["joint_order"][8] == "index4"
    np.testing.assert_allclose(content["K"], oracle.K)
    (told,) = content["hands"]
    assert told["side"] == "left"
    np.testing.assert_allclose(told["joints_3d"], found.joints, atol=1e-6)
    np.testing.assert_allclose(told["joints_2d"], project(found.joints, oracle.K), atol=0.01)
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"a.png", "broken.jpg", "trip/größe 手.gif"}
    assert rows["broken.jpg"]["reason"].startswith("unreadable") and rows["broken.jpg"]["hand"] == "0"
    assert rows["trip/größe 手.gif"]["reason"] == "no hand found"
    assert float(rows["a.png"]["z"]) == pytest.approx(found.joints[9, 2], abs=1e-6)
    assert float(rows["a.png"]["reprojection_px"]) < 0.05
    assert "photos: 3; hands: 1 in 1 of them; without a hand: 1; unreadable: 1" in outcome.summary()
    with Image.open(out / "overlays/a.png.jpg") as overlay:
        drawn = np.asarray(overlay).astype(int)
    x, y = project(found.joints, oracle.K)[9].astype(int)
    assert np.abs(drawn[y - 5 : y + 5, x - 5 : x + 5] - [10, 20, 30]).max() > 60
    assert np.abs(drawn[:100, :100] - [10, 20, 30]).max() < 12


def test_a_second_run_does_only_what_has_changed_and_takes_no_overlay_for_a_photo(hand, photos):
    out = photos / "out"
    first, calls = run([photos], out, [])
    assert len(calls) == 2
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again, calls = run([photos], out, [])
    assert calls == [] and again.rows == first.rows
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "meshes/a.png.obj").unlink()
    assert len(run([photos], out, [])[1]) == 1
    assert len(run([photos], out, [], key="another network")[1]) == 2


@pytest.mark.parametrize(
    "name", ["predictions.csv", "joints/a.png.json", "meshes/a.png.obj", "overlays/trip/größe 手.gif.jpg"]
)
def test_files_of_others_are_not_overwritten(photos, tmp_path, name):
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    with pytest.raises(HandgapError, match=r"would be overwritten and is no .* of `handgap predict`\n.*--out"):
        run([photos], tmp_path / "out", [])
    assert file.read_text() == "{}" and len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 1


def test_photos_and_folders_together_have_names_of_their_own(photos, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (8, 8)).save(other / "a.png")
    names = [photo.name for photo in photos_at([other / "a.png", photos, photos / "a.png"])]
    assert names == ["other/a.png", "photos/a.png", "photos/broken.jpg", "photos/trip/größe 手.gif"]
    assert [photo.name for photo in photos_at([photos / "a.png"])] == ["a.png"]
    with pytest.raises(HandgapError, match=r"nowhere\.jpg: no such file"):
        photos_at([photos, tmp_path / "nowhere.jpg"])


def saved(path, hand, settings, hierarchy=None):
    save_model(path, build(settings, hand, None, 64, hierarchy), settings, 64, EXPANSION, {"config": "-"})
    return path


def test_the_verb_from_photos_to_table(hand, hand_file, photos, tmp_path):
    pytest.importorskip("mediapipe", reason="no palm detector installed")
    model = saved(tmp_path / "model.pt", hand, SimpleHandNetwork(backbone=TINY))
    options = ["--checkpoint", str(model), "--annotation-hand", str(hand_file), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["predict", str(photos), *options], catch_exceptions=False)
    assert result.exit_code == 0 and "photos: 3; hands: 0" in result.output and "unreadable: 1" in result.output
    assert len(list((tmp_path / "out").rglob("*.json"))) == 2


def test_what_a_checkpoint_needs_is_asked_for_by_name(hand, hand_file, photos, tmp_path):
    hierarchy = toy_hierarchy(hand.faces)
    simple = saved(tmp_path / "simple.pt", hand, SimpleHandNetwork(backbone=TINY))
    mesh = saved(
        tmp_path / "cmr.pt", hand, CmrNetwork(backbone=TINY, channels=(16, 8), spiral_length=9), hierarchy=hierarchy
    )
    with pytest.raises(MissingAssetError, match=r"nowhere\.npz.*\n.*snakemake"):
        predict([photos], simple, tmp_path / "out", tmp_path / "nowhere.npz")
    with pytest.raises(MissingAssetError, match=r"hand_hierarchy\.npz.*\n.*snakemake"):
        predict([photos], mesh, tmp_path / "out", hand_file)
    with pytest.raises(MissingAssetError, match=r"no\.pt"):
        predict([photos], tmp_path / "no.pt", tmp_path / "out", hand_file)
    assert not (tmp_path / "out").exists()
    content = torch.load(simple, weights_only=True)
    content["weights"].pop("uv.bias")
    torch.save(content, tmp_path / "older.pt")
    with pytest.raises(CorruptFileError, match="do not fit the network"):
        load_checkpoint(tmp_path / "older.pt", hand_file)
    assert load_checkpoint(simple, hand_file).image_size == 64


def test_an_overlay_leaves_the_photo_as_it_is(hand):
    rgb = np.full((HEIGHT, WIDTH, 3), 9, np.uint8)
    oracle = Oracle(hand, [Side.RIGHT])
    drawn = overlay_of(rgb, oracle.K, oracle.hands_of(rgb))
    assert (rgb == 9).all() and (drawn != 9).any() and drawn.shape == rgb.shape
