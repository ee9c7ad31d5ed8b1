"""WebDataset shards (Aizman et al., 2019): tar files in which a sample's files lie together and share a key."""

import io
import tarfile
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from handgap.export.folder import dumps, plain
from handgap.export.job import Format, Job
from handgap.export.records import Record

IMAGES = ("image", "mask", "depth")
ARRAYS = ("vertices",)  # as .npy: as text they would be ten times the other labels


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(values), allow_pickle=False)
    return buffer.getvalue()


def members(record: Record) -> dict[str, bytes]:
    """Files of one sample by suffix, in the order of their names."""
    files = {}
    for name in IMAGES:
        if name in record:
            suffix = record.suffix(name)
            files[suffix if name == "image" else f"{name}.{suffix}"] = record[name]
    files |= {f"{name}.npy": _npy(record[name]) for name in ARRAYS if name in record}
    labels = {"id": record.id, "side": record.side.name.lower(), "valid": record.valid, "flag": record.flag}
    labels |= {name: plain(value) for name, value in record.values.items() if name not in (*IMAGES, *ARRAYS)}
    files["json"] = (dumps(labels) + "\n").encode()
    return dict(sorted(files.items()))


def write(folder: Path, records: Iterator[Record], job: Job) -> None:
    """Write SPLIT-000000.tar and on, `job.per_file` samples each."""
    for number, first in enumerate(records):
        path = folder / f"{job.split}-{number:06d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
            for record in chain([first], islice(records, job.per_file - 1)):
                for suffix, data in members(record).items():
                    entry = tarfile.TarInfo(f"{record.id:09d}.{suffix}")  # as it comes: dates and owners are 0
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))


WEBDATASET = Format(
    write,
    requires=("image",),
    conventions={
        "members": "KEY.jpg, .png or .webp: image; KEY.mask.png; KEY.depth.png; KEY.vertices.npy; KEY.json: the rest",
        "key": "the sample's id, nine digits",
        "frame": "OpenCV camera: x right, y down, z forward; metres",
        "joints": "wrist, thumb, index, middle, ring, pinky, base to tip",
        "pixels": "K maps to pixels whose centres are at integer + 0.5",
        "pose": "axis-angle, radians, mean pose added",
        "mask": "0 background, 1 hand, 2 arm, 3 object, 4 second hand",
        "depth": "16-bit PNG, millimetres along the optical axis, 0 = none",
        "side": "right or left",
        "valid": "false: kept in place, with the reason in flag; numbers that are none are null",
    },
    keeps_invalid=True,
)
