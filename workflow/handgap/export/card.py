"""The dataset card: README.md with the YAML header that the Hugging Face hub reads."""

from collections.abc import Mapping

import yaml

from handgap.export.folder import MANIFEST
from handgap.export.origin import KINDS, LICENCES, Terms
from handgap.export.records import Field

MEANINGS = {
    "id": "sample id, stable within dataset and split",
    "side": "right or left",
    "valid": "false: the labels mean nothing, and flag says why",
    "flag": "reason, empty when valid",
    "image": "as it was encoded: lossless WebP for renders, JPEG for photographs and proxy-real images",
    "mask": "PNG: 0 background, 1 hand, 2 arm, 3 object, 4 second hand",
    "depth": "16-bit PNG: millimetres along the optical axis, 0 = none",
    "K": "pinhole intrinsics, px; a pixel's centre is at integer + 0.5",
    "joints": "metres, OpenCV camera frame (x right, y down, z forward); wrist, thumb, index, middle, ring, pinky",
    "vertices": "metres, camera frame, annotation hand",
    "pose": "axis-angle of the annotation hand's 16 joints, radians, mean pose added",
    "shape": "shape coefficients of the annotation hand",
    "trans": "translation of the annotation hand, metres",
    "render_pose": "axis-angle of the render hand's 20 bones, radians",
    "render_shape": "shape coefficients of the render hand, standard deviations",
    "render_trans": "translation of the render hand, metres",
    "residual_mm": "mean distance of the fitted render hand from the annotation hand, mm",
    "visibility": "joints that are seen",
    "occlusion": "share of the hand's pixels that the object hides",
    "hdri": "environment map: light and background",
    "skin": "number of the skin's texture",
    "texture": "coefficients of that texture, standard deviations",
    "object": "object held",
    "arm_from": "id of the real image that the arm comes from, -1 = none",
    "object_from": "id of the real image that the object comes from, -1 = none",
    "sequence": "sequence that the image belongs to",
    "frame": "its place there",
}
CONVENTIONS = ("image", "mask", "depth", "K", "joints", "vertices", "pose")
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))


def size_category(count: int) -> str:
    """The hub's word for a number of samples."""
    return next((name for limit, name in SIZES if count < limit), "n>10M")


def _type(field: Field) -> str:
    return {"encoded": "image", "side": "class label"}.get(field.kind, " x ".join(map(str, (*field.shape, field.kind))))


def card_text(
    about: dict[str, object], split: str, columns: Mapping[str, Field], terms: Terms, content: dict[str, object]
) -> str:
    """README.md.

    Args:
        about: `dataset_info` of the header: features, splits, sizes.
        split: name of the split.
        columns: what each column holds.
        terms: what the images were made with.
        content: of PROVENANCE.json.
    """
    counts = content["samples"]
    studies = sorted({str(source["study"]) for source in content["sources"]})
    header = {
        "pretty_name": f"handgap {', '.join(studies)}, {terms.kind}",
        "license": "other",
        "license_name": "see-licences",
        "license_link": LICENCES,
        "task_categories": ["keypoint-detection"],
        "tags": ["hand-pose", terms.kind],
        "size_categories": [size_category(counts["written"])],
        "configs": [{"config_name": "default", "data_files": [{"split": split, "path": f"data/{split}-*.parquet"}]}],
        "dataset_info": about,
    }
    seeds = sorted({str(source["seed"]) for source in content["sources"]})
    lines = ["---", yaml.safe_dump(header, sort_keys=False, allow_unicode=True).rstrip(), "---", ""]
    lines += [f"# Hands of the study {', '.join(studies)}", "", f"The images are {KINDS[terms.kind]}", ""]
    lines += [
        f"{counts['written']} samples, {counts['not_valid']} of them not valid, {counts['left_hands']} left hands.",
        "",
    ]
    lines += ["## Columns", "", "| column | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {_type(field)} | {MEANINGS.get(name, '')} |" for name, field in columns.items()]
    lines += ["", "## Where they come from", ""]
    digests = f"`{MANIFEST}` has the digest of every store, of its parents, of the code and of the settings."
    lines += [f"Made by handgap, seed {', '.join(seeds)}. {digests}", "", "## Licences", ""]
    lines += [f"- {dataset}: {licence}" for dataset, licence in terms.datasets.items()]
    lines += [f"- {asset.id} ({asset.package} {asset.version}): {asset.licence}" for asset in terms.assets]
    lines += [f"- {name}: {model['licence']}" for name, model in terms.models.items()]
    lines += ["", f"`{LICENCES}` says the same for every part."]
    return "\n".join(lines) + "\n"
