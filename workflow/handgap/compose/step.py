"""Step of the compose stage: composed shards and the spectra figure's numbers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from handgap.compose.amplitude import augment_amplitude
from handgap.compose.paste import Layer, draw_partner, paste
from handgap.compose.sources import RealSide
from handgap.compose.spectrum import Profile, compare, log_amplitude
from handgap.core.config.base import parse_json
from handgap.core.config.compose import Composition
from handgap.core.config.train import Amplitude
from handgap.core.errors import ConfigError, CorruptFileError, run_step
from handgap.core.images import decode_mask, decode_rgb, encode_mask, encode_rgb
from handgap.core.progress import track
from handgap.core.provenance import settings_hash
from handgap.core.seeds import integer_seed, rng
from handgap.core.store import Column, ShardedStore, Store, write_store

NO_PARTNER = -1
SPECTRUM_BINS = 32
SPECTRUM_RESAMPLES = 500
SPECTRUM_IMAGES = 1000  # per group; a larger set is sampled

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


def _sources(choice: Composition, own: int, random: int | None) -> tuple[int | None, int | None]:
    """Ids that the arm and the object come from."""
    ids = {"none": None, "own": own, "random": random}
    return ids[choice.arm], ids[choice.object]


def _layer(real: RealSide, sample: int | None, part: int, noise: np.ndarray | None, shape: tuple) -> Layer | None:
    if sample is None:
        return None
    pixels, *masks = real.load(sample)
    if pixels.shape != shape:
        problem = f"real image {pixels.shape[1]}x{pixels.shape[0]}, synthetic one {shape[1]}x{shape[0]} px"
        raise CorruptFileError(f"sample {sample}", problem, "render the synthetic side at the real side's size")
    return Layer(pixels if noise is None else noise, masks[part])


@app.command()
def compose(
    synthetic: Annotated[Path, typer.Argument(help="shard of synthetic renders")],
    real: Annotated[list[Path], typer.Option(help="shards of the real side; all of them for random partners")],
    masks: Annotated[list[Path], typer.Option(help="their masks, in the same order")],
    variant: Annotated[str, typer.Option(help="name of the composition; random draws depend on it")],
    composition: Annotated[str, typer.Option(help="composition as JSON")],
    out: Annotated[Path, typer.Option()],
    study: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    code: Annotated[str, typer.Option()],
) -> None:
    """Paste arms and objects of the real side into one shard of synthetic renders."""
    choice = parse_json(Composition, composition, "--composition")
    needs_own, needs_random = ("own" in (choice.arm, choice.object), "random" in (choice.arm, choice.object))
    with Store(synthetic) as store, RealSide(real, masks) as side:
        kept = [name for name in store.names if name not in ("image", "mask", "valid", "flag")]
        columns: dict[str, Column] = {name: _as_written(store.column(name)) for name in kept}
        valid, flags = store.column("valid"), list(store.column("flag"))
        images, labels, partners = [], [], []
        for row, sample in track(enumerate(columns["id"].tolist()), len(store), f"composing {variant}"):
            generator = rng(seed, f"compose/{variant}", sample)
            partner = draw_partner(side.valid_ids, sample, generator) if needs_random else None
            render = decode_rgb(store.column("image", row), f"{synthetic}[{row}]")
            mask = decode_mask(store.column("mask", row), f"{synthetic}[{row}]")
            if needs_own and not side.is_valid(sample):
                valid[row], flags[row] = False, flags[row] or "no valid mask of the real image"
                image = render
            else:
                noise = generator.integers(0, 256, render.shape, np.uint8) if choice.fill == "rgb" else None
                arm, held = _sources(choice, sample, partner)
                layers = [_layer(side, source, part, noise, render.shape) for part, source in enumerate((arm, held))]
                image, mask = paste(render, mask, *layers)
            images.append(encode_rgb(image))
            labels.append(encode_mask(mask))
            partners.append(partner if needs_random else sample if needs_own else NO_PARTNER)
        columns |= {"image": images, "mask": labels, "valid": valid, "flag": flags}
        columns["partner"] = np.array(partners, np.int64)
        parents = [store.digest, *side.digests]
    settings = {"variant": variant, **choice.model_dump(mode="json")}
    write_store(out, columns, study=study, seed=seed, code=code, config=settings_hash(settings), parents=parents)


def _as_written(values: np.ndarray) -> Column:
    """A column as `write_store` takes it: encoded files and text come as object arrays, and go as lists."""
    return list(values) if values.dtype == object else values


def _images(shards: list[Path], seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """Ids and (H, W, 3) uint8 pixels of the valid images of a group, at most `SPECTRUM_IMAGES` of them."""
    with ShardedStore(shards) as store:
        rows = np.flatnonzero(store.column("valid"))
        if len(rows) > SPECTRUM_IMAGES:
            rows = np.sort(rng(seed, "compose/spectrum").choice(rows, SPECTRUM_IMAGES, replace=False))
        ids = store.column("id")
        for row in track(rows, len(rows), f"spectra of {shards[0].parent}"):
            yield int(ids[row]), decode_rgb(store.row("image", row), store.origin(row))


def _augmented(images: Iterator[tuple[int, np.ndarray]], amplitude: Amplitude, seed: int) -> Iterator[np.ndarray]:
    for sample, rgb in images:
        generator = torch.Generator().manual_seed(integer_seed(seed, "compose/amplitude", sample))
        pixels = torch.from_numpy(rgb.transpose(2, 0, 1) / np.float32(255.0))[None]
        result = augment_amplitude(pixels, **amplitude.model_dump(), generator=generator)
        yield np.rint(result[0].numpy().transpose(1, 2, 0) * 255.0).astype(np.uint8)


def _profile(pixels: Iterator[np.ndarray], group: str, seed: int) -> Profile:
    spectra, width = [], 0
    for rgb in pixels:
        spectra.append(log_amplitude(rgb))
        width = rgb.shape[1]
        if spectra[-1].shape != spectra[0].shape:
            raise CorruptFileError(f"group {group}", "its images are not all of one size", "compare images of one size")
    if len(spectra) < 2:
        raise CorruptFileError(f"group {group}", "fewer than two valid images", "make more samples")
    return Profile(np.stack(spectra), width, SPECTRUM_BINS, SPECTRUM_RESAMPLES, rng(seed, "compose/bootstrap"))


@app.command()
def spectrum(
    group: Annotated[list[str], typer.Option(help="name=shard,shard,...; names real, synthetic, composed")],
    amplitude: Annotated[str, typer.Option(help="amplitude augmentation as JSON, applied to the composed group")],
    seed: Annotated[int, typer.Option()],
    out: Annotated[Path, typer.Option()],
) -> None:
    """Measure amplitude spectra: real, synthetic, composed, and composed with amplitude augmentation."""
    shards = {
        name: [Path(path) for path in paths.split(",")] for name, _, paths in (text.partition("=") for text in group)
    }
    missing = {"real", "composed"} - set(shards)
    if missing:
        raise ConfigError("--group", f"no group named {' or '.join(sorted(missing))}", "pass --group NAME=SHARD,SHARD")
    profiles = {name: _profile((rgb for _, rgb in _images(paths, seed)), name, seed) for name, paths in shards.items()}
    augmented = _augmented(_images(shards["composed"], seed), parse_json(Amplitude, amplitude, "--amplitude"), seed)
    profiles["augmented"] = _profile(augmented, "augmented", seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    compare(profiles, "real").to_csv(out, index=False, float_format="%.6g")


if __name__ == "__main__":
    run_step(app)
