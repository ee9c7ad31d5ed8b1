"""Step of the segment stage: masks of a shard of the real side, and their score against truth."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from handgap.core.config.base import parse_json
from handgap.core.config.segment import Segment
from handgap.core.errors import ConfigError, CorruptFileError, run_step
from handgap.core.files import read_arrays, written_whole
from handgap.core.images import decode_mask, decode_rgb, encode_mask
from handgap.core.progress import track
from handgap.core.provenance import file_sha256, settings_hash
from handgap.core.store import ShardedStore, Store, write_store
from handgap.segment.detect import LabelFinder
from handgap.segment.finders import AnnotatedHand, open_finder
from handgap.segment.masks import HandSegmenter
from handgap.segment.sam import SamSegmenter
from handgap.segment.score import quality_table

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def masks(
    real: Annotated[Path, typer.Argument(help="shard of the real side")],
    weights: Annotated[Path, typer.Option(help="the segmenter's weights")],
    annotation_hand: Annotated[Path, typer.Option(help="annotation hand, for its faces")],
    out: Annotated[Path, typer.Option()],
    study: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    code: Annotated[str, typer.Option()],
    settings: Annotated[str, typer.Option(help="segment section as JSON")],
    detector: Annotated[Path | None, typer.Option(help="Grounding DINO's weights, if boxes come from text")] = None,
    vocab: Annotated[Path | None, typer.Option(help="vocabulary of its text encoder")] = None,
) -> None:
    """Segment hand, arm and object of one shard."""
    section = parse_json(Segment, settings, "--settings")
    text = [path for path in (detector, vocab) if path]
    if len(text) != (2 if section.boxes == "grounding_dino" else 0):
        wanted = "both" if section.boxes == "grounding_dino" else "neither"
        raise ConfigError("--detector, --vocab", f"boxes are {section.boxes}", f"pass {wanted} of these files")
    model = SamSegmenter.load(weights, section)
    segmenter = HandSegmenter(model, section)
    results, sources = [], []
    with Store(real) as store, ExitStack() as stack:
        labels = LabelFinder(store, read_arrays(annotation_hand, ["faces"])["faces"], section.box_margin)
        finder = stack.enter_context(open_finder(section, *text)) if section.boxes != "annotation" else None
        hand = AnnotatedHand(labels, finder)
        for row in track(range(len(store)), len(store), "segmenting"):
            rgb = decode_rgb(store.column("image", row), f"{real}[{row}]")
            sighting, found = hand(row, rgb)
            results.append(segmenter(model.embed(rgb[None])[0], rgb.shape[:2], sighting))
            sources.append(section.boxes if found else "annotation")
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
        for name, reasons in zip(
            ("hand", "arm", "object"), zip(*(r.reasons for r in results), strict=True), strict=True
        ):
            columns[f"no_{name}"] = list(reasons)
        parents = [store.digest, *(file_sha256(path) for path in (weights, annotation_hand, *text))]
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
    with written_whole(out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4f")


if __name__ == "__main__":
    run_step(app)
