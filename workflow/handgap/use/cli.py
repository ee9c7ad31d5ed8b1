"""`handgap predict` and `handgap export-model`: a trained network put to use."""

from pathlib import Path
from typing import Annotated

import typer

from handgap.core.errors import printable

MODELS = Path(__file__).resolve().parents[3] / "results/models"
CheckpointOption = Annotated[Path, typer.Option(help="trained network (model.pt)")]
HandOption = Annotated[
    Path, typer.Option(help="hand model it was trained on (.npz); its mesh hierarchy lies beside it")
]


def predict(
    images: Annotated[list[Path], typer.Argument(help="photos, and folders of photos")],
    checkpoint: CheckpointOption,
    out: Annotated[Path, typer.Option(help="folder for joints/, meshes/, overlays/ and predictions.csv")],
    annotation_hand: HandOption = MODELS / "open_mano.npz",
    focal: Annotated[
        float | None, typer.Option(min=1.0, help="focal length of all photos, px; the diagonal if not given")
    ] = None,
) -> None:
    """Find the hands of photos and predict their joints and meshes, in metres before the camera."""
    from handgap.core.config.segment import Segment
    from handgap.core.provenance import code_of, file_sha256, settings_hash
    from handgap.segment.finders import open_finder
    from handgap.segment.hand_table import PREDICTIONS
    from handgap.segment.photo_run import photos_at
    from handgap.use.checkpoint import load_checkpoint
    from handgap.use.photo_hands import PhotoHands
    from handgap.use.predict import PRODUCTS, predict_photos

    photos = photos_at(images)
    PRODUCTS.require_harmless(photos, out)
    loaded = load_checkpoint(checkpoint, annotation_hand)
    key = settings_hash([code_of("use.cli"), file_sha256(checkpoint), file_sha256(annotation_hand), focal])
    with open_finder(Segment(boxes="palm"), photos=True) as finder:
        outcome = predict_photos(photos, out, PhotoHands(finder, loaded, focal), key)
    typer.echo(outcome.summary())
    typer.echo(printable(out / PREDICTIONS))


def export_model(
    checkpoint: CheckpointOption,
    out: Annotated[Path, typer.Option(help="graph to write (.onnx)")],
    annotation_hand: HandOption = MODELS / "open_mano.npz",
) -> None:
    """Write a trained network as ONNX, compared with torch."""
    from handgap.use.checkpoint import load_checkpoint
    from handgap.use.onnx_export import export_onnx, licence_notice, require_graph_name, require_packages

    require_graph_name(out)
    require_packages()
    loaded = load_checkpoint(checkpoint, annotation_hand)
    differences = export_onnx(loaded, out)
    typer.echo("largest difference from torch: " + ", ".join(f"{k} {v:.1e}" for k, v in differences.items()))
    if notice := licence_notice(loaded.network.annotation_hand):
        typer.echo(f"note: {notice}", err=True)
    typer.echo(printable(out))
