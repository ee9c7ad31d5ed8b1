"""FreiHAND's files."""

import json
from pathlib import Path

import numpy as np
from dataset_hands import Hands, picture, save
from handgap.core.conventions import MIDDLE_MCP
from handgap.hands.annotation_hand import AnnotationHand
from PIL import Image

SIZE = (224, 224)


def write_freihand(root: Path, model: AnnotationHand, train: Hands, test: Hands, *, released: bool = True) -> Path:
    """The release: four versions of each training picture, labels as JSON lists; evaluation labels if `released`."""
    for folder, hands, versions in (("training", train, 4), ("evaluation", test, 1)):
        for number in range(versions * len(hands)):
            drawn = picture([hands.joints[number % len(hands)]], hands.K, SIZE)
            save(root / folder / "rgb" / f"{number:08d}.jpg", drawn, quality=90)
        labels = freihand_labels(model, hands)
        names = labels if folder == "training" or released else ("K", "scale")
        for name in names:
            (root / f"{folder}_{name}.json").write_text(json.dumps(labels[name]))
    for number in range(len(train)):
        mask = np.asarray(picture([train.joints[number]], train.K, SIZE).convert("L")) > 40
        save(root / "training/mask" / f"{number:08d}.jpg", Image.fromarray(np.uint8(mask) * 255))
    return root


def freihand_labels(model: AnnotationHand, hands: Hands) -> dict[str, list]:
    """The label files' lists: the pose without the mean pose, the root as a pixel and a scale."""
    mean = model.hands_mean.numpy().astype(np.float64)
    manos = []
    for pose, shape, joints in zip(hands.pose, hands.shape, hands.joints, strict=True):
        root, focal = joints[MIDDLE_MCP], 0.5 * (hands.K[0, 0] + hands.K[1, 1])
        scale = focal / root[2]
        uv = root[:2] * scale + hands.K[:2, 2]
        manos.append([[*pose[:3], *(pose[3:] - mean), *shape, *uv, scale]])
    return {
        "K": [hands.K.tolist()] * len(hands),
        "xyz": hands.joints.tolist(),
        "verts": hands.vertices.tolist(),
        "mano": np.array(manos).tolist(),
        "scale": np.linalg.norm(hands.joints[:, 9] - hands.joints[:, 10], axis=1).tolist(),
    }
