"""The verb `handgap fit-hand`: NIMBLE meshes to MANO parameters and the other way round."""

from pathlib import Path
from typing import Annotated, Literal

import typer

MODELS = Path(__file__).resolve().parents[4] / "results/models"


def fit_hand(
    sources: Annotated[list[Path], typer.Argument(help="meshes: .npz, .npy, .json, .obj or .h5 (docs/fit.md)")],
    to: Annotated[Literal["render", "annotation"], typer.Option(help="the hand whose parameters are wanted")],
    out: Annotated[Path, typer.Option(help="store of the parameters (.h5)")],
    render_hand: Annotated[Path, typer.Option(help="NIMBLE or its open twin, .npz")] = MODELS / "open_nimble.npz",
    annotation_hand: Annotated[Path, typer.Option(help="MANO or its open twin, .npz")] = MODELS / "open_mano.npz",
    unit: Annotated[Literal["m", "mm"], typer.Option(help="unit of the meshes")] = "m",
    side: Annotated[Literal["right", "left"], typer.Option(help="of the hands, where a file does not say")] = "right",
    device: Annotated[str, typer.Option(help="where to compute: cpu, cuda")] = "cpu",
    settings: Annotated[str, typer.Option(help="options that differ from the defaults, JSON (docs/fit.md)")] = "{}",
) -> None:
    """Fit a hand model to meshes, of MANO's topology or the render hand's; says per mesh how well it did."""
    import numpy as np
    import torch
    from rich.console import Console
    from rich.table import Table

    from handgap.core.config.base import parse_json
    from handgap.core.config.fit import Fit
    from handgap.core.conventions import N_ANNOTATION_VERTICES, Side
    from handgap.core.errors import HandgapError
    from handgap.core.geometry import mirrored_left
    from handgap.core.provenance import code_of, file_sha256, settings_hash
    from handgap.core.store import write_store
    from handgap.hands.fit.fitter import Fitter
    from handgap.hands.fit.meshes import read_meshes
    from handgap.hands.fit.targets import on_annotation_topology
    from handgap.hands.render_hand import RenderHand

    chosen = parse_json(Fit, settings, "--settings")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise HandgapError(f"--device {device}", "there is no GPU that torch can use", "leave it out: cpu")
    hand, targets, sides, origins = None, [], [], []
    for source in sources:
        vertices, known = read_meshes(source, unit, Side[side.upper()])
        if vertices.shape[1] != N_ANNOTATION_VERTICES:
            hand = hand or RenderHand.load(render_hand)
            vertices = on_annotation_topology(source, vertices, hand)
        targets.append(vertices)
        sides.append(known)
        origins += [f"{source}[{row}]" for row in range(len(vertices))]
    if to == "render":
        fitter = Fitter.to_render(render_hand, annotation_hand, chosen, device)
    else:
        fitter = Fitter.to_annotation(annotation_hand, chosen, device)
    target, sides = np.concatenate(targets), np.concatenate(sides)
    found = fitter.fit(mirrored_left(target, sides))
    prefix = "render_" if to == "render" else ""
    columns = {f"{prefix}{name}": getattr(found, name) for name in ("pose", "shape", "trans")}
    columns |= {"id": np.arange(len(target)), "origin": origins, "side": sides, "vertices": target.astype(np.float32)}
    columns |= {"residual_mm": found.residual_mm, "valid": found.valid, "flag": found.reason}
    config = settings_hash(chosen.model_dump(mode="json"))
    models = (render_hand, annotation_hand) if hand or to == "render" else (annotation_hand,)
    parents = [file_sha256(model) for model in models]
    code = code_of("hands.fit.cli")
    write_store(out, columns, study="fit-hand", seed=0, code=code, config=config, parents=parents)

    good = found.residual_mm[found.valid]
    console, table = Console(soft_wrap=True), Table("meshes", "valid", "mean mm", "95 % mm", "max mm", title=str(out))
    figures = (good.mean(), np.percentile(good, 95), good.max()) if len(good) else ()
    table.add_row(str(len(target)), str(len(good)), *(f"{value:.3f}" for value in figures))
    console.print(table)
    for origin, reason in zip(origins, found.reason, strict=True):
        if reason:
            console.print(f"{origin}: {reason}")
