"""Step of the segment stage: masks of a shard of the real side, and their score against truth."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from handgap.core.config.base import parse_json
from handgap.core.config.segment import Segment
from handgap.core.errors import CorruptFileError, run_step
from handgap.core.files import read_arrays
from handgap.core.images import decode_mask, decode_rgb, encode_mask
from handgap.core.progress import track
from handgap.core.provenance import file_sha256, settings_hash
from handgap.core.store import ShardedStore, Store, write_store
from handgap.segment.boxes import HandPrior, prior_from_labels, prior_from_landmarks
from handgap.segment.masks import HandSegmenter
from handgap.segment.palm import PalmDetector
from handgap.segment.sam import MobileSam
from handgap.segment.score import quality_table

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


class Priors:
    """Hand priors of a shard's rows, from the source the settings name.

    Args:
        store: real side, with joints, vertices and K.
        faces: (1538, 3) of the annotation hand.
        detector: asked first when there is one; the labels are taken where it finds no hand.
    """

    def __init__(self, store: Store, faces: np.ndarray, detector: PalmDetector | None):
        self._joints, self._vertices, self._K = (store.column(name) for name in ("joints", "vertices", "K"))
        self._faces, self._detector = faces, detector

    def __call__(self, row: int, rgb: np.ndarray) -> tuple[HandPrior, str]:
        """Prior and its source, "palm" or "annotation"."""
        height, width = rgb.shape[:2]
        landmarks = self._detector(rgb) if self._detector else None
        if landmarks is not None:
            return prior_from_landmarks(landmarks, height, width), "palm"
        labels = (self._joints[row], self._vertices[row], self._faces, self._K[row])
        return prior_from_labels(*labels, height, width), "annotation"


@app.command()
def masks(
    real: Annotated[Path, typer.Argument(help="shard of the real side")],
    weights: Annotated[Path, typer.Option(help="mobile_sam.pt")],
    annotation_hand: Annotated[Path, typer.Option(help="annotation hand, for its faces")],
    out: Annotated[Path, typer.Option()],
    study: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    code: Annotated[str, typer.Option()],
    settings: Annotated[str, typer.Option(help="segment section as JSON")],
) -> None:
    """Segment hand, arm and object of one shard."""
    section = parse_json(Segment, settings, "--settings")
    model = MobileSam(weights, section.input_size)
    segmenter = HandSegmenter(model, section)
    results, sources = [], []
    with Store(real) as store, ExitStack() as stack:
        detector = stack.enter_context(PalmDetector()) if section.boxes == "palm" else None
        priors = Priors(store, read_arrays(annotation_hand, ["faces"])["faces"], detector)
        for row in track(range(len(store)), len(store), "segmenting"):
            rgb = decode_rgb(store.column("image", row), f"{real}[{row}]")
            prior, source = priors(row, rgb)
            results.append(segmenter(model.embed(rgb[None])[0], prior))
            sources.append(source)
        flags = [own or result.flag for own, result in zip(store.column("flag"), results, strict=True)]
        columns = {
            "id": store.column("id"),
            "mask": [encode_mask(result.labels) for result in results],
            "boxes": np.stack([result.boxes for result in results]).astype(np.float32),
            "scores": np.stack([result.scores for result in results]).astype(np.float32),
            "box_source": sources,
            "valid": store.column("valid") & np.array([not result.flag for result in results]),
            "flag": flags,
        }
        parents = [store.digest, file_sha256(weights), file_sha256(annotation_hand)]
    config = settings_hash(section.model_dump(mode="json"))
    write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=parents)


def _pairs(real: ShardedStore, found: ShardedStore) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for row in track(range(len(real)), len(real), "scoring"):
        yield (
            decode_mask(real.row("mask", row), real.origin(row)),
            decode_mask(found.row("mask", row), found.origin(row)),
        )


@app.command()
def score(
    real: Annotated[list[Path], typer.Option(help="shards with exact masks")],
    masks: Annotated[list[Path], typer.Option(help="their segmentation, in the same order")],
    out: Annotated[Path, typer.Option(help="quality_segment.csv")],
) -> None:
    """Score masks against truth."""
    with ShardedStore(real) as truth, ShardedStore(masks) as found:
        if not np.array_equal(truth.column("id"), found.column("id")):
            cure = "pass the masks of exactly the real shards passed, in the same order"
            raise CorruptFileError(masks[0], f"its ids are not those of {real[0]}", cure)
        table = quality_table(_pairs(truth, found), truth.column("occlusion"), found.column("valid"))
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False, float_format="%.4f")


if __name__ == "__main__":
    run_step(app)
