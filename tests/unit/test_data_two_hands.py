"""Datasets whose pictures show two hands: two rows a picture, the right hand's first."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
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
from handgap.core.config.imported import Ego3dHands, H2o3d, InterHand, RenderIh, Rhd, Tzionas
from handgap.core.conventions import MaskLabel, Side
from handgap.core.errors import CorruptFileError
from handgap.core.images import decode_mask
from handgap.core.store import Store, write_store
from handgap.ingest.complete import RESIDUAL
from PIL import Image
from scipy.spatial.transform import Rotation

N = 4
RIGHT, LEFT = slice(0, 2 * N, 2), slice(1, 2 * N, 2)
ROWS = {Side.RIGHT: RIGHT, Side.LEFT: LEFT}
# camera in the world of datasets that have one: world -> camera
TURN, MOVE = Rotation.from_rotvec([0.4, -0.7, 0.2]).as_matrix(), np.array([0.1, -0.3, 0.9])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory):
    return models(tmp_path_factory.mktemp("models"))


def pair(found: dict, size: tuple[int, int], K: np.ndarray | None = None) -> dict[Side, Hands]:
    return {side: make_hands(found[side], N, size, K=K) for side in Side}


def draw(path: Path, hands: dict[Side, Hands], number: int, size: tuple[int, int]) -> None:
    save(path, picture([hands[side].kinematic[number] for side in Side], hands[Side.RIGHT].K, size))


def same_pictures(got: dict) -> None:
    assert got["image_id"].tolist() == [k // 2 for k in range(2 * N)]
    assert got["side"].tolist() == [Side.RIGHT, Side.LEFT] * N
    assert all((got["image"][k] == got["image"][k + 1]).all() for k in range(0, 2 * N, 2))


def in_world(model, hands: Hands) -> tuple[np.ndarray, np.ndarray]:
    """Pose and translation of the hands in the world that TURN and MOVE lead out of."""
    moved = shift_out(model, hands)
    return turn(hands.pose, TURN.T), moved


def shift_out(model, hands: Hands) -> np.ndarray:
    return shift(model, replace(hands, trans=hands.trans - MOVE), TURN.T)


# --- RHD

RHD = (320, 320)


def write_rhd(root: Path, hands: dict[Side, Hands]) -> Path:
    to_file = np.array([0, *(4 * finger + k for finger in range(5) for k in (4, 3, 2, 1))])
    labels = {}
    for number in range(N):
        # left hand first, fingers from tip to base
        xyz = np.concatenate([hands[side].kinematic[number][to_file] for side in (Side.LEFT, Side.RIGHT)])
        flat = xyz @ hands[Side.RIGHT].K.T
        visible = np.ones((42, 1))
        if number == 1:
            visible[:5] = 0  # wrist and thumb of the left hand
        uv_vis = np.concatenate([flat[:, :2] / flat[:, 2:], visible], 1)
        labels[number] = {"xyz": xyz.astype(np.float32), "uv_vis": uv_vis, "K": hands[Side.RIGHT].K.astype(np.float32)}
        draw(root / "training/color" / f"{number:05d}.png", hands, number, RHD)
    dump(root / "training/anno_training.pickle", labels)
    return root


def test_rhd(tmp_path: Path, found) -> None:
    hands = pair(found, RHD)
    root = write_rhd(tmp_path / "RHD_published_v2", hands)
    got = import_split(Rhd(kind="rhd", root=str(root)), "train", {}, tmp_path)
    same_pictures(got)
    for side, rows in ROWS.items():
        assert largest(got["joints"][rows], hands[side].kinematic) < 1e-6
    assert np.flatnonzero(~got["valid"]).tolist() == [3] and "16 of 21 keypoints of the left hand" in got["flag"][3]
    assert not got["visibility"][3, :5].any() and got["visibility"][3, 5:].all()
    assert np.isnan(got["vertices"]).all() and np.isnan(got["pose"]).all()
    assert inside(got["joints"], got["K"], RHD) == 1.0
    path = root / "training/anno_training.pickle"
    labels = pickle.loads(path.read_bytes())
    labels[2]["xyz"] = labels[2]["xyz"][:41]
    dump(path, labels)
    with pytest.raises(CorruptFileError, match=r"anno_training\.pickle: sample 2: an array of shape \(41, 3\)"):
        import_split(Rhd(kind="rhd", root=str(root)), "train", {}, tmp_path)


def test_two_rows_of_a_picture_keep_it_once_in_the_store(tmp_path: Path, found) -> None:
    root = write_rhd(tmp_path / "RHD_published_v2", pair(found, RHD))
    got = import_split(Rhd(kind="rhd", root=str(root)), "train", {}, tmp_path)
    path = tmp_path / "two.h5"
    write_store(path, got, study="t", seed=0, code="c", config="s")
    with h5py.File(path) as file:
        assert len(file["image"]) == N and len(file["joints"]) == 2 * N
    with Store(path) as store:
        assert all((store.column("image", k) == got["image"][k]).all() for k in range(2 * N))


# --- H2O-3D

H2O = (640, 480)


def write_h2o3d(root: Path, found: dict, hands: dict[Side, Hands]) -> Path:
    flip, shape = np.diag(OPENGL), hands[Side.RIGHT].shape[0]
    for folder in ("train", "evaluation"):
        names = [f"ShSu1{number % 2}/{number:04d}" for number in range(N)]
        for number, name in enumerate(names):
            sequence, frame = name.split("/")
            draw(root / folder / sequence / "rgb" / f"{frame}.jpg", hands, number, H2O)
            meta = {"camMat": hands[Side.RIGHT].K, "objName": "003_cracker_box", "handBeta": shape}
            for side in Side:
                which, one = side.name.lower(), hands[side]
                joints = (one.kinematic[number] * OPENGL)[SIMPLE_TO_MANO]
                if folder == "train":
                    meta[f"{which}HandJoints3D"] = joints
                    meta[f"{which}HandPose"] = turn(one.pose, flip)[number]
                    meta[f"{which}HandTrans"] = shift(found[side], one, flip)[number]
                else:
                    meta[f"{which}HandJoints3D"] = joints[0]
                    meta[f"{which}HandBoundingBox"] = [1, 2, 3, 4]
            dump(root / folder / sequence / "meta" / f"{frame}.pkl", meta)
        (root / f"{folder}.txt").write_text("\n".join(names))
    return root


def one_shape(found: dict, hands: dict[Side, Hands]) -> dict[Side, Hands]:
    """The hands with one shape for all: of the datasets that have one a person."""
    made = {}
    for side, one in hands.items():
        shape = np.repeat(hands[Side.RIGHT].shape[:1], N, 0)
        with torch.no_grad():
            posed = found[side](*(torch.from_numpy(values).float() for values in (one.pose, shape, one.trans)))
        made[side] = replace(
            one, shape=shape, kinematic=posed.joints.double().numpy(), vertices=posed.vertices.double().numpy()
        )
    return made


def test_h2o3d(tmp_path: Path, found) -> None:
    hands = one_shape(found, pair(found, H2O))
    root = write_h2o3d(tmp_path / "H2O3D", found, hands)
    options = H2o3d(kind="h2o3d", root=str(root), splits={"train": 1})
    got = import_split(options, "train", found, tmp_path)
    same_pictures(got)
    assert got["valid"].all(), got["flag"]
    for side, rows in ROWS.items():
        assert largest(got["joints"][rows], hands[side].kinematic) < 1e-6
        for name in ("vertices", "pose", "shape", "trans"):
            assert largest(got[name][rows], getattr(hands[side], name)) < 3e-6, (side, name)
    assert got[RESIDUAL].max() < 0.01
    test = import_split(options, "test", found, tmp_path)
    assert not test["valid"].any() and "only the wrists" in test["flag"][0]
    assert largest(test["wrist"][LEFT], hands[Side.LEFT].kinematic[:, 0]) < 1e-6


# --- RenderIH

RENDERIH = (256, 256)


def write_renderih(root: Path, found: dict, hands: dict[Side, Hands]) -> Path:
    for number in range(N):
        parameters = {}
        for side in Side:
            pose, trans = in_world(found[side], hands[side])
            components = found[side].hands_components.double().numpy()
            parameters[side.name.lower()] = {
                "R": Rotation.from_rotvec(pose[number, :3]).as_matrix()[None].astype(np.float32),
                # coefficients of the full pose: the mean is within them
                "pose": np.linalg.solve(components.T, pose[number, 3:])[None].astype(np.float32),
                "oripose": pose[number][None].astype(np.float32),
                "shape": hands[side].shape[number][None].astype(np.float32),
                "trans": trans[number][None].astype(np.float32),
            }
        name = 366358 + number * 9  # ids are not one after the other
        camera = {"R": TURN, "t": MOVE[None], "camera": hands[Side.RIGHT].K}
        values = {"inter_idx": name, "image": {}, "annotation": {}, "mano_params": parameters, "camera": camera}
        dump(root / "train/color_annot" / f"{name}.pkl", values)
        draw(root / "train/color_img" / f"{name}.jpg", hands, number, RENDERIH)
    return root


def test_renderih(tmp_path: Path, found) -> None:
    hands = pair(found, RENDERIH)
    root = write_renderih(tmp_path / "RenderIH", found, hands)
    options = RenderIh(kind="renderih", root=str(root), splits={"train": 1})
    got = import_split(options, "train", found, tmp_path)
    same_pictures(got)
    assert got["name"][::2] == ["366358", "366367", "366376", "366385"]
    assert got["valid"].all(), got["flag"]
    for side, rows in ROWS.items():
        # in no file: all are the model's, out of the world's frame
        assert largest(got["vertices"][rows], hands[side].vertices) < 1e-5
        assert largest(got["joints"][rows], hands[side].kinematic) < 1e-5
        for name in ("pose", "shape", "trans"):
            assert largest(got[name][rows], getattr(hands[side], name)) < 1e-5, (side, name)
    assert inside(got["joints"], got["K"], RENDERIH) == 1.0
    bare = RenderIh(kind="renderih", root=str(root), splits={"train": 1}, mano=False)
    with pytest.raises(CorruptFileError, match="joints: none"):
        import_split(bare, "train", {}, tmp_path)


# --- InterHand2.6M

INTERHAND = (334, 512)


def write_interhand(root: Path, found: dict, hands: dict[Side, Hands]) -> Path:
    """Four frames of one camera; picture 2 shows the right hand alone, of picture 3 a joint of it is lost."""
    to_file = np.argsort([20, *(4 * finger + k for finger in range(5) for k in (3, 2, 1, 0))])
    camera = {
        "campos": {"400262": (-TURN.T @ MOVE * 1000).tolist(), "400265": [0, 0, 0]},
        "camrot": {"400262": TURN.tolist(), "400265": np.eye(3).tolist()},
        "focal": {"400262": [hands[Side.RIGHT].K[0, 0]] * 2, "400265": [1, 1]},
        "princpt": {"400262": hands[Side.RIGHT].K[:2, 2].tolist(), "400265": [0, 0]},
    }
    images, annotations, joints, manos = [], [], {}, {}
    for number in range(N):
        name = f"Capture1/0390_dh_touchROM/cam400262/image{number:05d}.jpg"
        draw(root / "images/train" / name, hands, number, INTERHAND)
        size = {"width": 334, "height": 512}
        where = {"capture": 1, "subject": 0, "seq_name": "0390_dh_touchROM", "camera": "400262", "frame_idx": number}
        images.append({"id": 100 + number, "file_name": name} | size | where)
        world = [(hands[side].kinematic[number] - MOVE) @ TURN for side in Side]
        valid = np.ones((42, 1))
        if number == 2:
            valid[21:] = 0
        if number == 3:
            valid[0] = 0
        kind = "right" if number == 2 else "interacting"
        annotations.append({"id": number, "image_id": 100 + number, "bbox": [0, 0, 1, 1], "hand_type": kind})
        joints[str(number)] = {
            "world_coord": (1000 * np.concatenate([one[to_file] for one in world])).tolist(),
            "joint_valid": valid.tolist(),
            "hand_type": kind,
        }
        manos[str(number)] = {}
        for side in Side:
            pose, trans = in_world(found[side], hands[side])
            pose[:, 3:] -= found[side].hands_mean.double().numpy()
            parameters = {"pose": pose, "shape": hands[side].shape, "trans": trans}
            values = {name: array[number].tolist() for name, array in parameters.items()}
            manos[str(number)][side.name.lower()] = None if number == 2 and side is Side.LEFT else values
    files = {
        "data": {"images": images, "annotations": annotations},
        "camera": {"1": camera},
        "joint_3d": {"1": joints},
        "MANO_NeuralAnnot": {"1": manos},
    }
    for kind, values in files.items():
        path = root / "annotations/train" / f"InterHand2.6M_train_{kind}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    return root


def test_interhand(tmp_path: Path, found) -> None:
    hands = pair(found, INTERHAND)
    root = write_interhand(tmp_path / "InterHand", found, hands)
    options = InterHand(kind="interhand", root=str(root))
    got = import_split(options, "train", found, tmp_path)
    same_pictures(got)
    assert np.flatnonzero(~got["valid"]).tolist() == [5, 6], got["flag"]
    assert got["flag"][5] == "no left hand here" and "20 of 21 joints of the right hand" in got["flag"][6]
    assert got["joint_valid"].sum(1).tolist() == [21, 21, 21, 21, 21, 0, 20, 21] and "visibility" not in got
    for side, rows in ROWS.items():
        good = got["valid"][rows]
        assert largest(got["joints"][rows][good], hands[side].kinematic[good]) < 1e-6
        for name in ("vertices", "pose", "shape", "trans"):
            assert largest(got[name][rows][good], getattr(hands[side], name)[good]) < 1e-5, (side, name)
    assert np.nanmax(got[RESIDUAL]) < 0.01
    assert inside(got["joints"][got["valid"]], got["K"][got["valid"]], INTERHAND) == 1.0


@pytest.mark.parametrize(
    ("kind", "change", "match"),
    [
        ("data", lambda v: v["annotations"].pop(), "annotations are not one for each image"),
        ("data", lambda v: v["images"][1].update(id=100), "annotations are not one for each image"),
        ("data", lambda v: v["images"][1].update(file_name=v["images"][0]["file_name"]), "is there 2 times"),
        ("camera", lambda v: v["1"]["focal"].pop("400262"), r"camera\.json: capture 1 has no '400262'"),
        ("joint_3d", lambda v: v["1"]["2"]["world_coord"].pop(), r"entry 1/2 has shape \(41, 3\)"),
        ("joint_3d", lambda v: v["1"]["2"].pop("joint_valid"), "has no 'joint_valid'"),
    ],
)
def test_interhand_files_that_do_not_fit(tmp_path: Path, found, kind: str, change, match: str) -> None:
    root = write_interhand(tmp_path / "InterHand", found, pair(found, INTERHAND))
    path = root / "annotations/train" / f"InterHand2.6M_train_{kind}.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(CorruptFileError, match=match):
        import_split(InterHand(kind="interhand", root=str(root)), "train", found, tmp_path)


# --- Ego3DHands

EGO = (480, 270)


def write_ego3dhands(root: Path, hands: dict[Side, Hands]) -> Path:
    for number in range(N):
        folder = root / "combined_pose_train" / f"{number:05d}"
        draw(folder / "color_new.png", hands, number, EGO)
        locations = np.zeros((2, 22, 3))
        for row, side in enumerate((Side.LEFT, Side.RIGHT)):
            if number == 2 and side is Side.RIGHT:
                continue
            locations[row, 1:] = hands[side].kinematic[number][:, [1, 0, 2]] * 100
            locations[row, 0] = [60, 0, 60]
        np.save(folder / "location_3d_global.npy", locations)
        classes = np.zeros((270, 480), np.uint8)
        classes[10:20, 10:20], classes[10:20, 30:40], classes[50:60, 10:20], classes[50:60, 30:40] = 1, 5, 8, 12
        save(folder / "gt_seg.png", Image.fromarray(classes))
    return root


def test_ego3dhands(tmp_path: Path, found) -> None:
    K = np.array([[187.932, 0, 240], [0, 187.932, 135], [0, 0, 1]])
    hands = pair(found, EGO, K)
    root = write_ego3dhands(tmp_path / "Ego3DHands", hands)
    got = import_split(Ego3dHands(kind="ego3dhands", root=str(root)), "train", {}, tmp_path)
    same_pictures(got)
    assert np.flatnonzero(~got["valid"]).tolist() == [4] and got["flag"][4] == "no right hand here"
    for side, rows in ROWS.items():
        good = got["valid"][rows]
        assert largest(got["joints"][rows][good], hands[side].kinematic[good]) < 1e-6
    right, left = decode_mask(got["mask"][0]), decode_mask(got["mask"][1])
    assert right[55, 35] == left[15, 35] == MaskLabel.HAND
    assert right[15, 35] == left[55, 35] == MaskLabel.SECOND_HAND
    assert right[15, 15] == left[55, 15] == MaskLabel.ARM
    assert largest(got["K"][0], K) < 1e-5


# --- Hands in action

TZIONAS = (640, 480)


def write_tzionas(root: Path, hands: dict[Side, Hands]) -> Path:
    for number in range(7):
        (root / f"{number + 1:02d}/1/joints_2D_GT").mkdir(parents=True)
        (root / f"{number + 1:02d}/1/rgb").mkdir(parents=True)
    for number in range(N):
        sequence, frame = f"{number + 1:02d}", f"{5 * number:03d}"
        draw(root / sequence / "1/rgb" / f"{frame}.png", hands, number, TZIONAS)
        (root / sequence / "1/joints_2D_GT" / f"{frame}.txt").write_text("0\t1\t2\n")
        for side, letter in ((Side.RIGHT, "R"), (Side.LEFT, "L")):
            folder = f"IJCV16___fakeGT___IJCV___{sequence}___Model_Hand_{letter}___ncomps45"
            values = {"v": hands[side].vertices[number], "pose": np.zeros(48), "betas": np.zeros(10), "ncomps": 45}
            dump(root / "IJCV16___Results_MANO___parms_for___joints21" / folder / f"{frame}.pkl", values)
    return root


def test_tzionas(tmp_path: Path, found) -> None:
    hands = pair(found, TZIONAS, np.array([[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]]))
    root = write_tzionas(tmp_path / "tzionas", hands)
    options = Tzionas(kind="tzionas", root=str(root), splits={"test": 1})
    got = import_split(options, "test", found, tmp_path)
    same_pictures(got)
    assert got["valid"].all(), got["flag"]
    for side, rows in ROWS.items():
        assert largest(got["vertices"][rows], hands[side].vertices) < 1e-6
        assert largest(got["joints"][rows], hands[side].joints) < 1e-6
    assert np.isnan(got["pose"]).all()
