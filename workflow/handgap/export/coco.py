"""COCO keypoints (Lin et al., ECCV 2014; cocodataset.org, "Data format"): one category, hand, of 21 keypoints."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pycocotools import mask as rle

from handgap.core.conventions import JOINT_NAMES, JOINT_PARENTS, N_JOINTS, MaskLabel
from handgap.core.errors import CorruptFileError
from handgap.core.geometry import project
from handgap.core.images import decode_mask
from handgap.export.folder import MANIFEST, JsonList, dumps, plain
from handgap.export.job import Format, Job
from handgap.export.origin import KINDS, LICENCES
from handgap.export.records import Record

UNLABELLED, HIDDEN, VISIBLE = 0, 1, 2
CATEGORY = {
    "id": 1,
    "name": "hand",
    "supercategory": "person",
    "keypoints": list(JOINT_NAMES),
    "skeleton": [[int(parent) + 1, child + 1] for child, parent in enumerate(JOINT_PARENTS) if parent >= 0],
}
_CENTRE = 0.5  # of the first pixel in the store; COCO's keypoints count pixels, and a keypoint on it is 0


def keypoints(record: Record, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Joints in the image and COCO's visibility.

    Returns:
        (21, 2) px, a pixel's centre at an integer, and (21,) 0 not labelled (out of the image, and (0, 0)), 1 hidden,
        2 visible. Without a column `visibility` every joint in the image counts as visible.
    """
    uv = project(record["joints"].astype(np.float64), record["K"].astype(np.float64))
    inside = ((uv >= 0) & (uv < [width, height])).all(1) & (record["joints"][:, 2] > 0)
    seen = np.asarray(record["visibility"], bool) if "visibility" in record else np.ones(N_JOINTS, bool)
    flags = np.where(inside, np.where(seen, VISIBLE, HIDDEN), UNLABELLED)
    return np.where(inside[:, None], uv - _CENTRE, 0.0), flags


def image_id(record: Record) -> int:
    """Number of the picture: rows of its other hands share it."""
    return int(record.values.get("image_id", record.id))


def annotation(record: Record, width: int, height: int) -> dict[str, object]:
    """One hand as COCO's annotation; box and area are the mask's, or the joints' without a mask."""
    points, flags = keypoints(record, width, height)
    found = {
        "id": record.id + 1,  # pycocotools takes a match with annotation 0 for none
        "image_id": image_id(record),
        "category_id": CATEGORY["id"],
        "iscrowd": 0,
        "num_keypoints": int((flags > UNLABELLED).sum()),
        "keypoints": np.round(np.column_stack([points, flags]), 3).reshape(-1).tolist(),
        "side": record.side.name.lower(),
        "joints_3d": plain(record["joints"]),
    }
    found["keypoints"][2::3] = flags.tolist()
    if "mask" in record:
        labels = decode_mask(np.frombuffer(record["mask"], np.uint8), record.origin)
        if labels.shape != (height, width):
            problem = f"mask of {labels.shape[::-1]} px for an image of {(width, height)}"
            raise CorruptFileError(record.origin, problem, "make the file again")
        code = rle.encode(np.asfortranarray(labels == MaskLabel.HAND, np.uint8))
        found["segmentation"] = {"size": list(map(int, code["size"])), "counts": code["counts"].decode("ascii")}
        found["area"], found["bbox"] = float(rle.area(code)), rle.toBbox(code).tolist()
    else:
        uv = points[flags > UNLABELLED] + _CENTRE
        low, high = (uv.min(0), uv.max(0)) if len(uv) else (np.zeros(2), np.zeros(2))
        found["bbox"] = np.round([*low, *(high - low)], 3).tolist()
        found["area"] = round(float(np.prod(high - low)), 3)
    return found


def write(folder: Path, records: Iterator[Record], job: Job) -> None:
    """Write images as they are, and annotations/hand_keypoints_SPLIT.json."""
    images, annotations = folder / "images" / job.split, folder / "annotations"
    images.mkdir(parents=True)
    annotations.mkdir()
    parts = {name: annotations / f"{name}.part" for name in ("images", "annotations")}
    with JsonList(parts["images"]) as listed, JsonList(parts["annotations"]) as labelled:
        for record in records:
            path = images / f"{image_id(record):012d}.{record.suffix()}"
            width, height = record.picture().size
            if not path.exists():
                path.write_bytes(record["image"])
                entry = {"id": image_id(record), "file_name": path.name, "width": width, "height": height}
                listed.append(entry | {"license": 1, "K": plain(record["K"])})
            labelled.append(annotation(record, width, height))
    with (annotations / f"hand_keypoints_{job.split}.json").open("wb") as whole:
        head = {"info": {"description": f"hands, {KINDS[job.kind]} {MANIFEST} says from where"}}
        head |= {"licenses": [{"id": 1, "name": f"see {LICENCES}", "url": ""}], "categories": [CATEGORY]}
        whole.write(dumps(head).removesuffix("}").encode())
        for name, part in parts.items():
            whole.write(f',\n"{name}": '.encode())
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)
            part.unlink()
        whole.write(b"}\n")


COCO = Format(
    write,
    requires=("image", "K", "joints"),
    conventions={
        "keypoints": "wrist, thumb, index, middle, ring, pinky, base to tip; px, a pixel's centre at an integer",
        "visibility": "2 visible, 1 hidden, 0 out of the image; 2 for 1 where the stores do not know",
        "bbox": "x, y, width, height in px from the image's corner; of the mask, or of the joints without one",
        "segmentation": "RLE of the hand's visible pixels",
        "joints_3d": "metres, OpenCV camera frame: x right, y down, z forward",
        "side": "right or left, of each annotation",
    },
)
