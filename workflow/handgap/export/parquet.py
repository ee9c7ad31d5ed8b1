"""Parquet files and a dataset card, as the Hugging Face hub lays a dataset out and its `datasets` library reads it."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from handgap.core.conventions import Side
from handgap.export.card import CONVENTIONS, MEANINGS, card_text
from handgap.export.job import Format, Job
from handgap.export.origin import Terms
from handgap.export.records import Field, Record

ROWS = 64  # of a row group: what a reader must take at once
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SIDES = [side.name.lower() for side in Side]
HEAD = {"id": Field("int64"), "side": Field("side"), "valid": Field("bool"), "flag": Field("text")}


def columns_of(job: Job) -> dict[str, Field]:
    """The file's columns: id, side, valid and flag, then the stores' other ones by name."""
    return HEAD | {name: field for name, field in job.fields.items() if name not in HEAD}


def arrow_type(field: Field) -> pa.DataType:
    """Arrow's type of a column; arrays are lists of lists."""
    if field.kind in ("encoded", "text", "side"):
        return {"encoded": PICTURE, "text": pa.string(), "side": pa.int64()}[field.kind]
    kind = pa.from_numpy_dtype(np.dtype(field.kind))
    for _ in field.shape:
        kind = pa.list_(kind)
    return kind


def feature(field: Field) -> dict[str, object]:
    """A column as `datasets.Features` describes it."""
    match field.kind, len(field.shape):
        case "encoded", _:
            return {"_type": "Image"}
        case "side", _:
            return {"names": SIDES, "_type": "ClassLabel"}
        case "text", _:
            return {"dtype": "string", "_type": "Value"}
        case kind, 0:
            return {"dtype": kind, "_type": "Value"}
        case kind, 1:
            return {"feature": {"dtype": kind, "_type": "Value"}, "length": field.shape[0], "_type": "Sequence"}
        case kind, rank:
            return {"shape": list(field.shape), "dtype": kind, "_type": f"Array{rank}D"}


def schema_of(columns: dict[str, Field]) -> pa.Schema:
    """Arrow's schema with the features in its metadata, where `datasets` looks for them."""
    features = {name: feature(field) for name, field in columns.items()}
    described = json.dumps({"info": {"features": features}})
    types = [(name, arrow_type(field)) for name, field in columns.items()]
    return pa.schema(types, metadata={"huggingface": described})


def _column(name: str, field: Field, records: Sequence[Record]) -> pa.Array:
    match name:
        case "id" | "valid" | "flag":
            return pa.array([getattr(record, name) for record in records], arrow_type(field))
        case "side":
            return pa.array([int(record.side) for record in records], pa.int64())
    values = [record[name] for record in records]
    if field.kind == "encoded":
        names = [f"{record.id:09d}.{record.suffix(name)}" for record in records]
        return pa.array([{"bytes": data, "path": path} for data, path in zip(values, names, strict=True)], PICTURE)
    if field.kind == "text":
        return pa.array(values, pa.string())
    stacked = np.stack(values)
    array = pa.array(stacked.reshape(-1))
    for length in reversed(field.shape):
        array = pa.ListArray.from_arrays(np.arange(0, len(array) + 1, length, dtype=np.int32), array)
    return array


def write(folder: Path, records: Iterator[Record], job: Job) -> None:
    """Write data/SPLIT-00000-of-0000N.parquet and on, `job.per_file` samples each."""
    columns = columns_of(job)
    schema = schema_of(columns)
    data = folder / "data"
    data.mkdir()
    files = -(-job.total // job.per_file)
    for number, first in enumerate(records):
        samples = chain([first], islice(records, job.per_file - 1))
        path = data / f"{job.split}-{number:05d}-of-{files:05d}.parquet"
        # encoded images do not shrink; the labels do
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            while rows := list(islice(samples, ROWS)):
                arrays = [_column(name, field, rows) for name, field in columns.items()]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def card_feature(name: str, field: Field) -> dict[str, object]:
    """A column as the card's YAML describes it."""
    match field.kind, len(field.shape):
        case "encoded", _:
            return {"name": name, "dtype": "image"}
        case "side", _:
            return {"name": name, "dtype": {"class_label": {"names": {str(k): side for k, side in enumerate(SIDES)}}}}
        case "text", _:
            return {"name": name, "dtype": "string"}
        case kind, 0:
            return {"name": name, "dtype": kind}
        case kind, 1:
            return {"name": name, "sequence": kind, "length": field.shape[0]}
        case kind, rank:
            return {"name": name, "dtype": {f"array{rank}_d": {"shape": list(field.shape), "dtype": kind}}}


def write_card(folder: Path, job: Job, terms: Terms, content: dict[str, object]) -> None:
    """Write README.md: what the hub shows of a dataset."""
    columns = columns_of(job)
    size = sum(path.stat().st_size for path in (folder / "data").iterdir())
    count = content["samples"]["written"]
    split = {"name": job.split, "num_bytes": size, "num_examples": count}
    about = {
        "features": [card_feature(name, field) for name, field in columns.items()],
        "splits": [split],
        "download_size": size,
        "dataset_size": size,
    }
    text = card_text(about, job.split, columns, terms, content)
    (folder / "README.md").write_text(text, encoding="utf-8")


PARQUET = Format(
    write,
    requires=("image",),
    conventions={name: text for name, text in MEANINGS.items() if name in CONVENTIONS},
    keeps_invalid=True,
    card=write_card,
)
