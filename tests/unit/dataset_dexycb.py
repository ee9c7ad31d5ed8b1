"""DexYCB's files."""

from pathlib import Path

import numpy as np
import yaml
from dataset_hands import Hands, picture, png_bytes, save
from handgap.core.conventions import Side
from handgap.hands.annotation_hand import AnnotationHand
from PIL import Image

SIZE = (640, 480)
SERIALS = [f"8362120601{k:02d}" for k in range(8)]
SUBJECTS = {0: "20200709-subject-01", 1: "20200813-subject-02"}
FRAMES = 2
RIGHT, LEFT = 4, 9  # the sequences of subject 0 that have pictures and labels


def write_dexycb(root: Path, models: dict[Side, AnnotationHand], hands: dict[Side, Hands]) -> Path:
    """Two subjects of a hundred sequences; all but two sequences of the first are their meta.yml alone.

    Each of the two shows one hand in every frame of every camera, 16 in all; the last frame of the last camera has no
    pose.
    """
    for subject, name in SUBJECTS.items():
        for place in range(100):
            side = Side.LEFT if subject == 0 and place == LEFT else Side.RIGHT
            folder = root / name / f"202007{place // 10:02d}_{place:06d}"
            calibration = f"20200514_142106_subject-{subject + 1:02d}_{side.name.lower()}"
            folder.mkdir(parents=True)
            meta = {"serials": SERIALS, "num_frames": FRAMES, "mano_calib": [calibration]}
            meta |= {
                "mano_sides": [side.name.lower()],
                "extrinsics": "20200702_151821",
                "ycb_ids": [1],
                "ycb_grasp_ind": 0,
            }
            (folder / "meta.yml").write_text(yaml.safe_dump(meta))
            betas = root / "calibration" / f"mano_{calibration}" / "mano.yml"
            betas.parent.mkdir(parents=True, exist_ok=True)
            betas.write_text(yaml.safe_dump({"betas": hands[side].shape[0].tolist()}))
            if subject == 0 and place in (RIGHT, LEFT):
                _write_sequence(folder, models[side], hands[side])
    K = hands[Side.RIGHT].K
    for serial in SERIALS:
        path = root / "calibration/intrinsics" / f"{serial}_640x480.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        color = {"fx": float(K[0, 0]), "fy": float(K[1, 1]), "ppx": float(K[0, 2]), "ppy": float(K[1, 2])}
        path.write_text(yaml.safe_dump({"color": color, "depth": color}))
    return root


def _write_sequence(folder: Path, model: AnnotationHand, hands: Hands) -> None:
    mean, components = (values.numpy().astype(np.float64) for values in (model.hands_mean, model.hands_components))
    for number in range(len(hands)):
        camera, frame = divmod(number, FRAMES)
        folder_of = folder / SERIALS[camera]
        save(folder_of / f"color_{frame:06d}.jpg", picture([hands.kinematic[number]], hands.K, SIZE))
        coefficients = np.linalg.solve(components.T, hands.pose[number, 3:] - mean)
        pose = np.concatenate([hands.pose[number, :3], coefficients, hands.trans[number]])[None].astype(np.float32)
        joints = hands.kinematic[number][None].astype(np.float32)
        flat = joints[0] @ hands.K.T
        uv = (flat[:, :2] / flat[:, 2:])[None].astype(np.float32)
        if number == len(hands) - 1:
            pose, joints, uv = pose * 0, joints * 0 - 1, uv * 0 - 1
        seg = np.zeros((480, 640), np.uint8)
        seg[100:200, 100:200], seg[150:250, 150:250], seg[0, 0] = 255, 21, 30
        pose_y = np.zeros((1, 3, 4), np.float32)
        label = folder_of / f"labels_{frame:06d}.npz"
        np.savez_compressed(label, seg=seg, pose_y=pose_y, pose_m=pose, joint_3d=joints, joint_2d=uv)
        depth = np.full((480, 640), 600 + number, np.uint16)
        (folder_of / f"aligned_depth_to_color_{frame:06d}.png").write_bytes(png_bytes(depth))
    assert Image.open(folder_of / "color_000000.jpg").size == SIZE
