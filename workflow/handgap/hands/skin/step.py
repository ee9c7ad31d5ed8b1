"""Entry point that bakes the render hand's skins."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from handgap.core.errors import MissingAssetError, run_step
from handgap.core.images import encode_jpeg
from handgap.core.progress import track
from handgap.core.provenance import code_of, file_sha256, settings_hash
from handgap.core.seeds import rng
from handgap.core.store import write_store
from handgap.hands.mesh import vertex_normals
from handgap.hands.skin.bake import bake, draw_person, tone_of
from handgap.hands.skin.detail import make_details
from handgap.hands.skin.map import rasterise

SIZE = 1024
PER_TONE = 2
JPEG_QUALITY = 93
HEIGHTS = ("relief", "folds", "body", "plate")

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def bake_skins(
    model: Annotated[Path, typer.Option(help="open_nimble.npz")],
    skins: Annotated[Path, typer.Option(help="folder of the skins asset")],
    out: Annotated[Path, typer.Option(help="open_nimble_skins.h5")],
    seed: Annotated[int, typer.Option(help="root seed; skins are shared by all studies")] = 0,
) -> None:
    """Bake two skins of each tone map."""
    paths = sorted(skins.glob("*_diffuse*.png"))
    if not paths:
        raise MissingAssetError(skins, "no *_diffuse*.png in it", "fetch the asset 'skins'")
    with np.load(model) as file:
        hand = dict(file)
    hand["normals"] = vertex_normals(hand["v_template"], hand["faces_forearm"])
    faces = np.vstack([hand["faces_forearm"], hand["faces_stump"]])
    uv_faces = np.vstack([hand["uv_faces_forearm"], hand["uv_faces_stump"]])
    texels = rasterise(hand["uv"], uv_faces, hand["v_template"], faces, SIZE)
    details = make_details(hand, texels, rng(seed, "hands/details"))
    points = texels.interpolate(hand["v_template"])
    slopes = {name: texels.slope(getattr(details, name)) for name in HEIGHTS}
    tones = [tone_of(Image.open(path), hand) for path in paths]

    # the first half of the library has every tone once, the second half has it again on another person
    order = list(range(len(paths))) * PER_TONE
    columns: dict[str, list] = {"name": [], "diffuse": [], "normal": [], "roughness": []}
    for index, which in enumerate(track(order, len(order), "skins")):
        generator = rng(seed, "hands/skins", index)
        person = draw_person(generator, tones[which].mean(0), paths[which].name)
        maps = bake(tones[which], person, details, slopes, texels, points, generator)
        maps["roughness"] = np.repeat(maps["roughness"][..., None], 3, axis=2)
        columns["name"].append(f"{paths[which].stem}-{index // len(paths)}")
        for name, pixels in maps.items():
            columns[name].append(encode_jpeg(pixels, JPEG_QUALITY))
    write_store(
        out,
        {"id": np.arange(len(order)), **columns},
        study="shared",
        seed=seed,
        code=code_of("hands.skin.step"),
        config=settings_hash({"size": SIZE, "quality": JPEG_QUALITY}),
        parents=[file_sha256(model), *(file_sha256(path) for path in paths)],
        extra={"side_split": len(paths)},
    )


if __name__ == "__main__":
    run_step(app)
