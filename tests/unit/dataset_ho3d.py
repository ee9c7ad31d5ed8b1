"""HO3D's files."""

import json
from pathlib import Path

import numpy as np
from dataset_hands import OPENGL, SIMPLE_TO_MANO, Hands, dump, picture, save, shift, turn
from handgap.hands.annotation_hand import AnnotationHand

SIZE = (640, 480)


def write_ho3d(root: Path, model: AnnotationHand, train: Hands, test: Hands, version: str = "v2") -> Path:
    """The release with two sequences in each split, in an OpenGL camera and MANO's joint order."""
    suffix = "png" if version == "v2" else "jpg"
    flip = np.diag(OPENGL)
    for folder, hands in (("train", train), ("evaluation", test)):
        names = [f"{'ABF1' if number % 2 else 'MC'}{number % 2}/{number:04d}" for number in range(len(hands))]
        (root / folder).mkdir(parents=True)
        (root / f"{folder}.txt").write_text("".join(f"{name}\n" for name in names))
        poses, trans = turn(hands.pose, flip), shift(model, hands, flip)
        joints = (hands.kinematic * OPENGL)[:, SIMPLE_TO_MANO]
        for number, name in enumerate(names):
            sequence, frame = name.split("/")
            drawn = picture([hands.kinematic[number]], hands.K, SIZE)
            save(root / folder / sequence / "rgb" / f"{frame}.{suffix}", drawn)
            meta = {"camMat": hands.K, "objName": "021_bleach_cleanser", "camIDList": ["0", "1"], "objLabel": 12}
            if folder == "train":
                meta |= {"handPose": poses[number], "handBeta": hands.shape[number], "handTrans": trans[number]}
                meta |= {"handJoints3D": joints[number]}
            else:
                meta |= {"handBoundingBox": [100, 100, 300, 300], "handJoints3D": joints[number, 0]}
            dump(root / folder / sequence / "meta" / f"{frame}.pkl", meta)
    return root


def write_ho3d_truth(root: Path, test: Hands) -> None:
    """Labels of the evaluation split as released in 2024."""
    joints = (test.kinematic * OPENGL)[:, SIMPLE_TO_MANO]
    (root / "evaluation_xyz.json").write_text(json.dumps(joints.tolist()))
    (root / "evaluation_verts.json").write_text(json.dumps((test.vertices * OPENGL).tolist()))
