"""InterHand2.6M, version 1.0 at 5 frames a second (Moon et al., ECCV 2020), with NeuralAnnot's MANO parameters.

`images/<split>/<file_name>` and four JSON files for each split. Joints are 42 in a world frame, millimetres, the right
hand's first, each finger from tip to base, wrist last; MANO's parameters are in the same frame, metres. A picture shows
one hand or two.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from handgap.core.conventions import MM, N_JOINTS, Side
from handgap.core.errors import CorruptFileError
from handgap.core.json_stream import walk_json
from handgap.data.adapters.adapter import TWO_HANDS, Adapter, Labels, Picture, PoseSpace
from handgap.data.adapters.files import Need, shaped
from handgap.data.adapters.index import Index, IndexWriter

# 20 wrist; fingers from tip to base, four joints each -> simple order
TO_SIMPLE = np.array([20, *(4 * finger + k for finger in range(5) for k in (3, 2, 1, 0))])
PIECE = 4096
_FILES = ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
_ARCHIVES = "InterHand2.6M_5fps_batch1 (images and annotations, v1.0)"
_CURE = f"fetch the annotations of {_ARCHIVES} again"
_FIRST = {Side.RIGHT: 0, Side.LEFT: N_JOINTS}
_MANO = 61  # pose, shape, trans


class InterHandAdapter(Adapter):
    """See the module."""

    title = "InterHand2.6M"
    licence = "CC BY-NC 4.0"
    source = "the InterHand2.6M page"
    splits = ("train", "val", "test")
    hands = sides = TWO_HANDS
    size = (334, 512)
    pose_space = PoseSpace(use_pca=False, flat_hand_mean=False)

    def _file(self, split: str, kind: str) -> str:
        return f"annotations/{split}/InterHand2.6M_{split}_{kind}.json"

    def needs(self, split: str) -> Sequence[Need]:
        """Pictures and label files."""
        return Need(f"images/{split}/", _ARCHIVES), *(Need(self._file(split, kind), _ARCHIVES) for kind in _FILES)

    def pictures(self, split: str) -> int:
        """Entries of the list of images: as slow as reading it."""
        path = self.root / self._file(split, "data")
        return sum(keys[0] == "images" for keys in walk_json(path, 2, _CURE))

    def write_index(self, split: str, index: IndexWriter) -> int:
        """Cameras, labels by frame, and which of these each picture has."""
        camera_of = self._cameras(split, index)
        world_of = self._world(split, index)
        mano_of = self._mano(split, index)
        path = self.root / self._file(split, "data")
        names: list[str] = []
        rows: list[tuple[int, int, int]] = []
        image_ids, labelled = array("q"), array("q")
        for part, place, entry in walk_json(path, 2, _CURE):
            try:
                if part == "images":
                    frame = str(entry["capture"]), str(entry["frame_idx"])
                    camera = camera_of[str(entry["capture"]), str(entry["camera"])]
                    rows.append((camera, world_of.get(frame, -1), mano_of.get(frame, -1)))
                    names.append(entry["file_name"])
                    image_ids.append(entry["id"])
                    if len(names) == PIECE:
                        _flush(index, names, rows)
                elif part == "annotations":
                    labelled.append(entry["image_id"])
            except KeyError as error:
                raise CorruptFileError(path, f"{part}[{place}] has or refers to no {error}", _CURE) from error
        if names:
            _flush(index, names, rows)
        if image_ids != labelled:
            raise CorruptFileError(path, "annotations are not one for each image, in their order", _CURE)
        return len(image_ids)

    def _cameras(self, split: str, index: IndexWriter) -> dict[tuple[str, str], int]:
        path, rows = self.root / self._file(split, "camera"), {}
        K, rotations, translations = [], [], []
        for capture, camera in walk_json(path, 1, _CURE):
            try:
                for name in camera["campos"]:
                    where = f"{capture}/{name}"
                    position = shaped(camera["campos"][name], (3,), path, where, _CURE).astype(np.float64)
                    rotation = shaped(camera["camrot"][name], (3, 3), path, where, _CURE).astype(np.float64)
                    focal = shaped(camera["focal"][name], (2,), path, where, _CURE)
                    centre = shaped(camera["princpt"][name], (2,), path, where, _CURE)
                    rows[capture, name] = len(K)
                    K.append(np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]]))
                    rotations.append(rotation)
                    translations.append(-rotation @ position * MM)
            except KeyError as error:
                raise CorruptFileError(path, f"capture {capture} has no {error}", _CURE) from error
        for name, values in (("K", K), ("rotation", rotations), ("translation", translations)):
            index.table(name, np.array(values))
        return rows

    def _world(self, split: str, index: IndexWriter) -> dict[tuple[str, str], int]:
        path = self.root / self._file(split, "joint_3d")

        def rows() -> Iterator[tuple[tuple[str, str], dict[str, np.ndarray]]]:
            for capture, frame, entry in walk_json(path, 2, _CURE):
                where = f"{capture}/{frame}"
                joints = shaped(entry["world_coord"], (2 * N_JOINTS, 3), path, where, _CURE) * MM
                valid = shaped(np.ravel(entry["joint_valid"]), (2 * N_JOINTS,), path, where, _CURE) > 0
                yield (capture, frame), {"world": joints, "joint_valid": valid}

        return _by_frame(index, rows(), path)

    def _mano(self, split: str, index: IndexWriter) -> dict[tuple[str, str], int]:
        path = self.root / self._file(split, "MANO_NeuralAnnot")

        def rows() -> Iterator[tuple[tuple[str, str], dict[str, np.ndarray]]]:
            for capture, frame, entry in walk_json(path, 2, _CURE):
                values = np.full((2, _MANO), np.nan, np.float32)
                for side in TWO_HANDS:
                    if hand := entry.get(side.name.lower()):
                        joined = [*hand["pose"], *hand["shape"], *hand["trans"]]
                        values[side] = shaped(joined, (_MANO,), path, f"{capture}/{frame}", _CURE)
                yield (capture, frame), {"mano": values}

        return _by_frame(index, rows(), path)

    def picture(self, split: str, index: Index, number: int) -> Picture:
        """Both hands of a picture; the one that is not there is absent."""
        name, (camera, world, mano) = index.column("name", number), index.column("rows", number)
        image = self.root / "images" / split / name
        hands = []
        for side in self.hands:
            frame = {key: index.table(key)[camera] for key in ("K", "rotation", "translation")}
            if world < 0:
                fault = f"{name}: its frame has no joints in the label files"
                hands.append(Labels(side=side, K=frame["K"], fault=fault))
                continue
            rows = _FIRST[side] + TO_SIMPLE
            valid = index.column("joint_valid", int(world))[rows]
            if not valid.all():
                count, which = int(valid.sum()), side.name.lower()
                absent = f"no label: {count} of 21 joints of the {which} hand" if count else f"no {which} hand here"
                hands.append(Labels(side=side, absent=absent, extras={"joint_valid": valid}, **frame))
                continue
            labels = {"joints": index.column("world", int(world))[rows]}
            if mano >= 0 and np.isfinite(values := index.column("mano", int(mano))[side]).all():
                labels |= {"pose": values[:48], "shape": values[48:58], "trans": values[58:]}
            hands.append(Labels(side=side, extras={"joint_valid": valid}, **frame, **labels))
        return Picture(name, image, hands)

    def extras(self, split: str) -> dict[str, np.ndarray]:
        """Which joints are annotated, none where it is not known."""
        return {"joint_valid": np.zeros(N_JOINTS, bool)}


def _flush(index: IndexWriter, names: list[str], rows: list[tuple[int, int, int]]) -> None:
    index.append(name=names, rows=np.array(rows, np.int32))
    names.clear()
    rows.clear()


def _by_frame(
    index: IndexWriter, rows: Iterator[tuple[tuple[str, str], dict[str, np.ndarray]]], path: Path
) -> dict[tuple[str, str], int]:
    """Append rows in pieces; where the row of each capture and frame is."""
    places: dict[tuple[str, str], int] = {}
    piece: list[dict[str, np.ndarray]] = []

    def flush() -> None:
        if piece:
            index.append(**{name: np.stack([row[name] for row in piece]) for name in piece[0]})
            piece.clear()

    try:
        for key, row in rows:
            places[key] = len(places)
            piece.append(row)
            if len(piece) == PIECE:
                flush()
    except (KeyError, TypeError) as error:
        raise CorruptFileError(path, f"frame {len(places)} has no {error}", _CURE) from error
    flush()
    return places
