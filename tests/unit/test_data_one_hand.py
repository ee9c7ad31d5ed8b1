"""Datasets of single hands, but FreiHAND, HO3D and DexYCB, which have tests of their own."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_freihand import write_freihand
from dataset_hands import (
    OPENGL,
    SIMPLE_TO_MANO,
    Hands,
    dump,
    import_split,
    inside,
    largest,
    make_hands,
    models,
    picture,
    save,
    shift,
    turn,
)
from handgap.core.config.imported import DartSet, Hand3dStudio, HandSynthesis, Mow, MvHand, ObMan, SynFrei
from handgap.core.conventions import HANDSYNTHESIS_TO_SIMPLE, MaskLabel, Side
from handgap.core.errors import CorruptFileError, HandgapError
from handgap.core.geometry import project
from handgap.core.images import decode_mask
from handgap.data.adapters.dartset import DISTANCE, TO_SIMPLE
from handgap.data.adapters.handsynthesis import FIRST_CAMERA, NIMBLE_TO_WORLD
from handgap.data.adapters.mvhand import CAMERAS
from handgap.ingest.complete import RESIDUAL
from handgap.render.released import extrinsics, to_camera
from PIL import Image
from scipy.spatial.transform import Rotation

N = 4
SQUARE = (224, 224)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory):
    return models(tmp_path_factory.mktemp("models"))


def draw(path: Path, joints: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> None:
    save(path, picture([joints], K, size))


# --- SynFrei


def write_synfrei(root: Path, train: Hands, first: int) -> Path:
    for turn_number in range(2):
        for number in range(N):
            path = root / f"rgb_{first + turn_number}" / f"{number:08d}.png"
            draw(path, train.joints[number], train.K, SQUARE)
    for number in range(N):
        mask = np.zeros((224, 224), np.uint8)
        mask[50:60, 50 : 60 + number] = 255
        save(root / "segmentation" / f"{number:08d}.png", Image.fromarray(mask))
    return root


@pytest.mark.parametrize("first", [0, 1])
def test_synfrei_has_freihands_labels_round_after_round(tmp_path: Path, found, first: int) -> None:
    train, test = (make_hands(found[Side.RIGHT], count, SQUARE) for count in (N, 1))
    labels = write_freihand(tmp_path / "FreiHAND", found[Side.RIGHT], train, test)
    root = write_synfrei(tmp_path / "syn_frei", train, first)
    options = SynFrei(kind="synfrei", root=str(root), labels=str(labels), rounds=2)
    got = import_split(options, "train", found, tmp_path)
    assert got["valid"].all() and got["name"][5] == f"rgb_{first + 1}/00000001"
    for name in ("joints", "vertices", "pose", "shape"):
        assert largest(got[name], np.concatenate([getattr(train, name)] * 2)) < 2e-6, name
    assert (decode_mask(got["mask"][6]) == MaskLabel.HAND).sum() == 10 * 12
    (labels / "training_xyz.json").unlink()
    with pytest.raises(HandgapError, match=r"not FreiHAND's training labels.*: no training_xyz\.json"):
        import_split(options, "train", found, tmp_path)


# --- HandSynthesis


RELEASED = np.array([[355.0, 0, 112], [0, 355, 112], [0, 0, 1]])


def write_handsynthesis(root: Path, hands: Hands, *, beside: bool, cameras: np.ndarray | None = None) -> Path:
    """Samples in millimetres in NIMBLE's frame, with their pictures among the images or in their own folders."""
    back = np.argsort(HANDSYNTHESIS_TO_SIMPLE)
    for number in range(N):
        camera = FIRST_CAMERA if cameras is None else cameras[number]
        to_camera_of = camera[:3, :3] @ NIMBLE_TO_WORLD
        folder = (root / "samples" if beside else root) / f"{number:08d}"
        folder.mkdir(parents=True)
        for name, points in (("joints", hands.joints[number][back]), ("manov", hands.vertices[number])):
            points = (points - camera[:3, 3]) @ to_camera_of * 1000
            (folder / f"{name}.json").write_text(json.dumps(points.tolist()))
        image = root / f"images/rgb_1/{number:08d}.png" if beside else folder / "render_rgb.png"
        draw(image, hands.joints[number], hands.K, SQUARE)
        mask = root / f"images/segmentation_1/{number:08d}.png" if beside else folder / "render_mask.png"
        save(mask, Image.fromarray(np.full((224, 224), 255, np.uint8)))
    if cameras is not None:
        (root / "cam_RT_syn_data_0.json").write_text(json.dumps(cameras.tolist()))
    return root


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("views", [False, True])
def test_handsynthesis_samples_come_into_their_camera(tmp_path: Path, found, beside: bool, views: bool) -> None:
    hands = make_hands(found[Side.RIGHT], N, SQUARE, K=RELEASED)
    cameras = np.stack([extrinsics(view) for view in (0, 1, 2, 3)]) if views else None
    root = write_handsynthesis(tmp_path / "raw", hands, beside=beside, cameras=cameras)
    options = HandSynthesis(kind="handsynthesis", root=str(root), splits={"train": 1})
    got = import_split(options, "train", {}, tmp_path)
    assert got["valid"].all(), got["flag"]
    assert largest(got["joints"], hands.joints) < 1e-6 and largest(got["vertices"], hands.vertices) < 1e-6
    assert got["K"][0].tolist() == RELEASED.tolist()
    assert (decode_mask(got["mask"][0]) == MaskLabel.HAND).all()


def test_handsynthesis_camera_is_the_renderers() -> None:
    points = np.array([[0.01, 0.02, 0.03], [-0.05, 0.04, 0.0]])
    here = points @ (FIRST_CAMERA[:3, :3] @ NIMBLE_TO_WORLD).T + FIRST_CAMERA[:3, 3]
    assert np.abs(here - to_camera(points, 0)).max() < 1e-12


def test_handsynthesis_faults(tmp_path: Path, found) -> None:
    hands = make_hands(found[Side.RIGHT], N, SQUARE, K=RELEASED)
    root = write_handsynthesis(tmp_path / "raw", hands, beside=True)
    joints = root / "samples/00000001/joints.json"
    joints.write_text(joints.read_text()[:100])
    (root / "images/rgb_1/00000002.png").unlink()
    options = HandSynthesis(kind="handsynthesis", root=str(root), splits={"train": 1})
    got = import_split(options, "train", {}, tmp_path)
    assert got["valid"].tolist() == [True, False, False, True]
    assert "not readable JSON" in got["flag"][1] and got["flag"][2].endswith("no such picture")
    with pytest.raises(HandgapError, match="no sample of HandSynthesis in it"):
        import_split(options.model_copy(update={"root": str(tmp_path / "raw/images")}), "train", {}, tmp_path)


# --- DARTset

DART = (384, 384)


def orthographic(hands: Hands) -> np.ndarray:
    """(N, 21, 2) px of 384: 1000 px a metre about the middle knuckle, which is off the middle."""
    return (hands.joints - hands.joints[:, 9:10])[..., :2] * 1000 + [150.0, 210.0]


def write_dartset(root: Path, model, hands: Hands) -> Path:
    back = np.argsort(TO_SIMPLE)
    centred = hands.joints - hands.joints[:, 9:10]
    records = {"img": [], "pose": [], "joint3d": [], "joint2d": []}
    folder = root / "train"
    pose = turn(hands.pose, np.diag(OPENGL))
    pose[:, 3:] -= model.hands_mean.double().numpy()
    for number in range(N):
        name = f"{number}.png"
        drawing = np.concatenate([orthographic(hands)[number], np.ones((21, 1))], 1)
        draw(folder / "0_wbg" / name, drawing, np.eye(3), DART)
        records["img"].append(name)
        records["pose"].append(pose[number].reshape(16, 3).astype(np.float32))
        # about the wrist, as any point will do
        records["joint3d"].append(((centred - centred[:, :1]) * OPENGL)[number][back].astype(np.float32))
        records["joint2d"].append((orthographic(hands)[number] * 512 / 384)[back].astype(np.float32))
        # 778 vertices and those of the wrist that DART adds, about the index finger's knuckle
        vertices = (hands.vertices[number] - hands.joints[number][5]) * OPENGL
        dump(folder / "0_verts" / f"{number}.pkl", np.concatenate([vertices, np.zeros((64, 3))]))
    dump(folder / "part_0.pkl", records)
    return root


def test_dartset_is_seen_from_afar(tmp_path: Path, found) -> None:
    model = found[Side.RIGHT]
    hands = make_hands(model, N, DART)
    # its hands have no shape
    with torch.no_grad():
        posed = model(torch.from_numpy(hands.pose).float(), torch.zeros(N, 10), torch.from_numpy(hands.trans).float())
        joints = model.regress_joints(posed.vertices).double().numpy()
    hands = replace(hands, vertices=posed.vertices.double().numpy(), joints=joints)
    root = write_dartset(tmp_path / "DARTset", model, hands)
    got = import_split(DartSet(kind="dartset", root=str(root), splits={"train": 1}), "train", found, tmp_path)
    assert got["valid"].all(), got["flag"]
    away = np.array([0, 0, DISTANCE]) - hands.joints[:, 9:10]
    assert largest(got["joints"], hands.joints + away) < 1e-5
    assert largest(got["vertices"], hands.vertices + away) < 1e-5
    assert largest(got["pose"], hands.pose) < 1e-5 and got[RESIDUAL].max() < 0.02
    uv = project(got["joints"].astype(float), got["K"].astype(float))
    assert np.abs(uv - orthographic(hands)).max() < 0.3


# --- ObMan

OBMAN = (256, 256)


def write_obman(root: Path, hands: dict[Side, Hands]) -> Path:
    for number in range(N):
        side = Side.LEFT if number == 3 else Side.RIGHT
        one = hands[side]
        folder = root / "train"
        name = f"{10 * number:08d}"
        draw(folder / "rgb" / f"{name}.jpg", one.joints[number], one.K, OBMAN)
        segm = np.zeros((256, 256, 3), np.uint8)
        segm[10:20, 10:20, 2], segm[30:40, 10:20, 2], segm[50:60, 10:20, 2] = 22, 21, 100
        segm[70:80, 10:20, 0] = 22  # other channels hold the classes without the object, without the hand
        save(folder / "segm" / f"{name}.png", Image.fromarray(segm))
        meta = {"coords_3d": one.joints[number] * OPENGL, "verts_3d": one.vertices[number] * OPENGL}
        meta |= {"coords_2d": np.zeros((21, 2)), "side": side.name.lower(), "hand_pose": np.zeros(45)}
        dump(folder / "meta" / f"{name}.pkl", meta | {"class_id": "02876657", "affine_transform": np.eye(4)})
    return root


def test_obman(tmp_path: Path, found) -> None:
    K = np.array([[480.0, 0, 128], [0, 480, 128], [0, 0, 1]])
    hands = {side: make_hands(found[side], N, OBMAN, K=K) for side in Side}
    root = write_obman(tmp_path / "obman", hands)
    got = import_split(ObMan(kind="obman", root=str(root), splits={"train": 1}), "train", {}, tmp_path)
    assert got["valid"].all() and got["side"].tolist() == [0, 0, 0, 1]
    assert got["name"] == ["00000000", "00000010", "00000020", "00000030"]
    assert largest(got["joints"][:3], hands[Side.RIGHT].joints[:3]) < 1e-6
    assert largest(got["vertices"][3], hands[Side.LEFT].vertices[3]) < 1e-6
    for row, hand, other in ((0, 15, 35), (3, 35, 15)):
        mask = decode_mask(got["mask"][row])
        assert mask[hand, 15] == MaskLabel.HAND and mask[55, 15] == MaskLabel.OBJECT
        assert mask[other, 15] == mask[75, 15] == MaskLabel.BACKGROUND


# --- MVHand

MVHAND = (640, 480)


def write_mvhand(root: Path, hands: Hands) -> Path:
    """Two sequences of two frames; the second camera is the world's origin, as in the release one of them is."""
    back = np.argsort([0, 17, 18, 19, 20, *range(1, 17)])
    for name, start in (("7-14-1-2", 0), ("9-17-1-2", 2)):
        folder, poses = root / name, {}
        for view, serial in enumerate(CAMERAS):
            pose = np.eye(4)
            pose[:3, :3] = Rotation.from_rotvec([0, 0.3 * (view - 1), 0]).as_matrix()
            pose[:3, 3] = [40.0 * (view - 1), 0, 10.0 * (view - 1)]
            poses[serial] = pose
        dump(folder / "calib.pkl", poses)
        joints = 1000 * hands.joints[start : start + 2][:, back]
        joints = np.concatenate([joints, np.ones((2, 21, 1))], 2)[..., None]
        (folder / "mlresults").mkdir()
        np.save(folder / "mlresults" / f"{name}-joints.npy", joints)
        for frame in range(2):
            for view, (serial, (fx, fy, cx, cy)) in enumerate(CAMERAS.items()):
                seen = (hands.joints[start + frame] - poses[serial][:3, 3] / 1000) @ poses[serial][:3, :3]
                K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
                draw(folder / "rgb" / f"{frame:05d}_{view}.jpg", seen, K, MVHAND)
    return root


def test_mvhand(tmp_path: Path, found) -> None:
    hands = make_hands(found[Side.RIGHT], N, MVHAND)
    root = write_mvhand(tmp_path / "mvhand", hands)
    options = MvHand(kind="mvhand", root=str(root), test_sequences=["9-17-1-2"], splits={"train": 1})
    got = import_split(options, "test", {}, tmp_path)
    assert got["name"][:5] == [*(f"9-17-1-2/00000_{view}" for view in range(4)), "9-17-1-2/00001_0"]
    assert got["valid"].all(), got["flag"]
    assert largest(got["joints"][[1, 5]], hands.joints[2:]) < 1e-6  # the view at the origin
    turned = Rotation.from_rotvec([0, 0.3, 0]).as_matrix()  # the third view's pose
    seen = (hands.joints[2] - [0.04, 0, 0.01]) @ turned
    assert largest(got["joints"][2], seen) < 1e-6
    assert got["K"][3][0, 0] == pytest.approx(615.665)
    assert len(import_split(options, "train", {}, tmp_path)["id"]) == 8
    with pytest.raises(HandgapError, match="no sequence 9-25-1-2"):
        import_split(MvHand(kind="mvhand", root=str(root), splits={"train": 1}), "test", {}, tmp_path)
    path = root / "9-17-1-2/mlresults/9-17-1-2-joints.npy"
    np.save(path, np.load(path)[:, :20])
    with pytest.raises(CorruptFileError, match=r"\(2, 20, 4, 1\), expected \(N, 21, 4, 1\)"):
        import_split(options, "test", {}, tmp_path)


# --- Hand-3D-Studio

H3D = (256, 256)


def write_h3d(root: Path, hands: Hands, unit: float) -> Path:
    samples = []
    for number in range(12):
        one = number % N
        name = f"part{number % 5 + 1}/{number}.jpg"
        draw(root / name, hands.joints[one], hands.K, H3D)
        sample = {"name": name, "keypoint2d": project(hands.joints[one], hands.K).tolist()}
        sample |= {"keypoint3d": (hands.joints[one] / unit).tolist(), "intrinsic_matrix": hands.K.tolist()}
        samples.append(sample | {"without_object": int(number < 10)})
    (root / "annotation.json").write_text(json.dumps(samples))
    return root


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_hand3dstudio_follows_regdas_split(tmp_path: Path, found, unit: float) -> None:
    hands = make_hands(found[Side.RIGHT], N, H3D)
    root = write_h3d(tmp_path / "H3D_crop", hands, unit)
    options = Hand3dStudio(kind="h3d", root=str(root), splits={"train": 1})
    # as RegDA draws it
    random.seed(42)
    order = list(range(10))
    random.shuffle(order)
    for split, numbers in (("test", order[:2]), ("train", order[2:])):
        got = import_split(options, split, {}, tmp_path)
        assert [int(Path(name).stem) for name in got["name"]] == numbers
        assert got["valid"].all(), got["flag"]
        assert largest(got["joints"], hands.joints[[number % N for number in numbers]]) < 1e-6
        assert inside(got["joints"], got["K"], H3D) == 1.0
    held = import_split(options.model_copy(update={"objects": "with"}), "train", {}, tmp_path)
    assert {int(Path(name).stem) for name in held["name"]} == {10, 11}


# --- MOW

WIDE = (300, 200)


def write_mow(root: Path, model, hands: Hands) -> Path:
    mean, components = (values.double().numpy() for values in (model.hands_mean, model.hands_components))
    entries = []
    for number in range(N):
        # (v R + t) s of the posed hand, whose own translation lies before R
        back = Rotation.from_rotvec([0.2, 0.1 * number, -0.3]).as_matrix()
        one = replace(hands, **{name: getattr(hands, name)[number : number + 1] for name in ("pose", "shape", "trans")})
        placed = replace(one, trans=one.trans - [0.3, 0.1, 0.5])
        pose, trans = turn(one.pose, back)[0], shift(model, placed, back)[0]
        name = f"cup_v_{number}_frame000001"
        edge = max(WIDE)
        K = np.array([[edge, 0, edge / 2], [0, edge, edge / 2], [0, 0, 1.0]])
        draw(root / "images" / f"{name}.jpg", hands.kinematic[number], K, WIDE)
        entry = {"image_id": name, "hand_pose": [*pose[:3], *np.linalg.solve(components.T, pose[3:] - mean)]}
        # row vectors: v R turns by R's transpose
        entry |= {"trans": trans.tolist(), "hand_R": back.ravel().tolist(), "hand_t": [0.3, 0.1, 0.5], "hand_s": 1.7}
        entries.append(entry | {"obj_name": "cup", "s": 0.3, "R": [0.0] * 9, "t": [0.0] * 3})
    (root / "poses.json").write_text(json.dumps(entries))
    return root


def test_mow(tmp_path: Path, found) -> None:
    model = found[Side.RIGHT]
    hands = make_hands(model, N, WIDE)
    with torch.no_grad():
        posed = model(torch.from_numpy(hands.pose).float(), torch.zeros(N, 10), torch.from_numpy(hands.trans).float())
    hands = replace(
        hands,
        shape=np.zeros((N, 10)),
        kinematic=posed.joints.double().numpy(),
        vertices=posed.vertices.double().numpy(),
    )
    root = write_mow(tmp_path / "mow", model, hands)
    got = import_split(Mow(kind="mow", root=str(root)), "test", found, tmp_path)
    assert got["valid"].all(), got["flag"]
    for name in ("vertices", "pose", "trans"):
        assert largest(got[name], getattr(hands, name)) < 1e-5, name
    assert largest(got["joints"], hands.kinematic) < 1e-5
    assert got["K"][0].tolist() == [[300, 0, 150], [0, 300, 150], [0, 0, 1]]
    entries = json.loads((root / "poses.json").read_text())
    entries[3]["image_id"] = entries[0]["image_id"]
    (root / "poses.json").write_text(json.dumps(entries))
    with pytest.raises(CorruptFileError, match="'cup_v_0_frame000001' is there 2 times"):
        import_split(Mow(kind="mow", root=str(root)), "test", found, tmp_path)


def test_mano_order_is_inverted_as_it_should_be() -> None:
    assert SIMPLE_TO_MANO[[1, 13, 16]].tolist() == [5, 1, 4]  # index knuckle, thumb base, thumb tip
