"""Samples of stores one at a time, as the formats take them: labels as arrays, images as the encoded bytes they are."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from handgap.core.conventions import Side
from handgap.core.errors import ConfigError, CorruptFileError
from handgap.core.images import DAMAGED
from handgap.core.store import Store

BLOCK = 32  # rows read at once
NEEDED = ("K", "joints")  # labels that every valid sample has
OPTIONAL = ("vertices", "pose", "shape", "trans")  # nan throughout where a dataset has none
MARKS = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}
_SAVED_AS = {
    "jpg": {"format": "JPEG", "quality": 95},
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP", "lossless": True, "quality": 20, "method": 0},
}
# x -> -x keeps an axis-angle's x and negates its y and z
_MIRRORED_TURN = np.array([1.0, -1.0, -1.0], np.float32)


@dataclass(frozen=True)
class Record:
    """One sample.

    Attributes:
        id: of the sample.
        origin: file and row, for messages.
        side: which hand.
        valid: its labels mean something.
        flag: why not, empty when valid.
        values: every other column by name: arrays, numbers, text; `image`, `mask` and `depth` as bytes.
        seen_mirrored: it is the mirror image of the store's sample.
    """

    id: int
    origin: str
    side: Side
    valid: bool
    flag: str
    values: Mapping[str, object]
    seen_mirrored: bool = False

    def __getitem__(self, name: str) -> object:
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def labelled(self, *names: str) -> bool:
        """Whether it has all of these labels: a column that is not throughout nan."""
        return all(name in self.values and not np.isnan(self.values[name]).all() for name in names)

    def picture(self, name: str = "image") -> Image.Image:
        """An encoded column as Pillow opens it: the size is known, the pixels are decoded when they are asked for.

        Raises:
            CorruptFileError: the bytes are no image.
        """
        try:
            return Image.open(io.BytesIO(self.values[name]))
        except (*DAMAGED, Image.DecompressionBombError) as error:
            raise self._damaged(name, str(error)) from error

    def suffix(self, name: str = "image") -> str:
        """File suffix of an encoded column: jpg, png or webp.

        Raises:
            CorruptFileError: the bytes are none of these.
        """
        for mark, suffix in MARKS.items():
            if self.values[name].startswith(mark):
                return suffix
        raise self._damaged(name, "neither JPEG, PNG nor WebP")

    def mirrored(self) -> "Record":
        """The same sample seen in a mirror, the other hand: x -> -x, u -> width - u.

        Parameters of the render hand stay: those of a left hand are its mirror image's already (`hands.fit.step`).

        Raises:
            CorruptFileError: an image cannot be decoded.
        """
        values = dict(self.values)
        width = self.picture().width if "image" in self else 0.0
        for name in ("image", "mask", "depth"):
            if name in values:
                values[name] = self._flipped(name)
        K = np.array(values["K"])
        K[0, 1], K[0, 2] = -K[0, 1], width - K[0, 2]
        values["K"] = K
        for name in ("joints", "vertices", "trans"):
            if name in values:
                values[name] = values[name] * np.array([-1, 1, 1], np.float32)
        if "pose" in values:
            values["pose"] = (values["pose"].reshape(-1, 3) * _MIRRORED_TURN).reshape(-1)
        return replace(self, side=Side(1 - self.side), values=values, seen_mirrored=not self.seen_mirrored)

    def _flipped(self, name: str) -> bytes:
        buffer = io.BytesIO()
        try:
            ImageOps.mirror(self.picture(name)).save(buffer, **_SAVED_AS[self.suffix(name)])
        except DAMAGED as error:
            raise self._damaged(name, str(error)) from error
        return buffer.getvalue()

    def _damaged(self, name: str, problem: str) -> CorruptFileError:
        return CorruptFileError(self.origin, f"column '{name}' cannot be decoded ({problem})", "make the file again")


class Field(NamedTuple):
    """What a column holds: "encoded" (an image file), "text", or numbers of a type and a shape per sample."""

    kind: str
    shape: tuple[int, ...] = ()


class Records:
    """Samples of several shards in the order given; one block of rows is in memory at a time.

    Args:
        paths: stores of one stage.

    Attributes:
        paths: as given.
        fields: what each column holds, by name, sorted.
        attributes: attributes of each store.
        valid: how many samples are valid.

    Raises:
        MissingAssetError, CorruptFileError: see `core.store.Store`.
        ConfigError: no sample, stores that differ in their columns, or ids that repeat.
    """

    def __init__(self, paths: Sequence[Path]):
        self.paths, self.attributes, self.fields, self.valid = list(paths), [], {}, 0
        ids = []
        for path in self.paths:
            with Store(path) as store:
                fields = {name: _field(store, name) for name in store.names}
                if len(store) and self.fields and fields != self.fields:
                    other = sorted(set(fields.items()) ^ set(self.fields.items()))[0][0]
                    problem = f"its column '{other}' is not as in {self.paths[0]}"
                    raise ConfigError(path, problem, "export the stages of a study one by one")
                self.fields = self.fields or (fields if len(store) else {})
                self.attributes.append(store.attrs)
                ids.append(store.column("id"))
                self.valid += int(store.column("valid").sum()) if "valid" in store else len(store)
        found = np.concatenate(ids) if ids else np.empty(0, np.int64)
        if not len(found):
            raise ConfigError("STORE", "no sample in any of them", "name the shards of a split that has some")
        ordered = np.sort(found)
        if (again := ordered[1:] == ordered[:-1]).any():
            problem = f"{int(again.sum())} sample ids repeat, first {ordered[1:][again][0]}"
            raise ConfigError("STORE", problem, "export splits and stages one by one")
        if ordered[0] < 0:
            raise ConfigError("STORE", f"sample id {ordered[0]} is negative", "number the samples from 0")
        self._length = len(found)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Record]:
        for path in self.paths:
            with Store(path) as store:
                for start in range(0, len(store), BLOCK):
                    rows = slice(start, min(start + BLOCK, len(store)))
                    block = {name: store.column(name, rows) for name in self.fields}
                    for k in range(rows.stop - start):
                        yield self._record({name: values[k] for name, values in block.items()}, f"{path}[{start + k}]")

    def _record(self, row: dict[str, object], origin: str) -> Record:
        for name, field in self.fields.items():
            if field.kind == "encoded":
                row[name] = row[name].tobytes()
        number, side = int(row.pop("id")), Side(int(row.pop("side", Side.RIGHT)))
        valid, flag = bool(row.pop("valid", True)), str(row.pop("flag", ""))
        for name in (*NEEDED, *OPTIONAL):
            if valid and name in row and not np.isfinite(row[name]).all():
                if name in OPTIONAL and np.isnan(row[name]).all():
                    continue
                problem = f"column '{name}' is not finite in a valid sample"
                raise CorruptFileError(origin, problem, "make the file again, or mark the sample as not valid")
        return Record(number, origin, side, valid, flag, row)


def _field(store: Store, name: str) -> Field:
    values = store.column(name, slice(0, 1))
    if values.dtype != object:
        return Field(str(values.dtype), values.shape[1:])
    return Field("text" if len(values) and isinstance(values[0], str) else "encoded")
