"""Step of the compose stage: the numbers of the spectrum figure."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from handgap.compose.amplitude import augment_amplitude
from handgap.compose.spectrum import Profile, bootstrap_weights, compare, distance_table, log_amplitude
from handgap.core.config.base import parse_json
from handgap.core.config.train import Amplitude
from handgap.core.errors import ConfigError, CorruptFileError, run_step
from handgap.core.files import written_whole
from handgap.core.images import decode_rgb
from handgap.core.progress import track
from handgap.core.seeds import integer_seed, rng
from handgap.core.store import ShardedStore

BINS = 32
RESAMPLES = 1000
IMAGES = 1000  # per group; of a larger set some are drawn
SHARED = ("hdri", "sequence")  # columns of the real side; a sequence has one light, a light may have many sequences
REFERENCE, AUGMENTED, AUGMENTED_FROM = "real", "augmented", "composed"

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


class Group:
    """Images of one group by sample id."""

    def __init__(self, name: str, shards: list[Path]):
        self.name, self._store = name, ShardedStore(shards)
        valid = np.flatnonzero(self._store.column("valid"))
        self._rows = dict(zip(self._store.column("id")[valid].tolist(), valid.tolist(), strict=True))
        self.ids = set(self._rows)

    def image(self, sample: int) -> np.ndarray:
        """Pixels (H, W, 3) uint8."""
        row = self._rows[sample]
        return decode_rgb(self._store.row("image", row), self._store.origin(row))

    def cluster(self, sample: int) -> str:
        """What a sample shares with others: its light, else its sequence; one without either is a cluster by itself."""
        shared = {name: self._store.row(name, self._rows[sample]) for name in SHARED if name in self._store.shards[0]}
        return next((f"{name} {value}" for name, value in shared.items() if value != ""), f"sample {sample}")

    def close(self) -> None:
        """Close the shards."""
        self._store.close()


@app.command()
def spectrum(
    group: Annotated[list[str], typer.Option(help="name=shard,shard,...; names real, synthetic, composed")],
    amplitude: Annotated[str, typer.Option(help="amplitude augmentation as JSON, applied to the composed group")],
    seed: Annotated[int, typer.Option()],
    out: Annotated[Path, typer.Option(help="table of all numbers (.csv)")],
    distances: Annotated[Path, typer.Option(help="table of the distances alone (.csv)")],
) -> None:
    """Measure amplitude spectra: real, synthetic, composed, and composed with amplitude augmentation.

    All groups are measured on the same samples, those that are valid in each, and resampled by the real side's lights.
    """
    settings = parse_json(Amplitude, amplitude, "--amplitude")
    paths = {name: shards.split(",") for name, _, shards in (text.partition("=") for text in group)}
    if missing := {REFERENCE, AUGMENTED_FROM} - set(paths):
        raise ConfigError("--group", f"no group named {' or '.join(sorted(missing))}", "pass --group NAME=SHARD,SHARD")
    with ExitStack() as stack:
        groups = {name: Group(name, list(map(Path, shards))) for name, shards in paths.items()}
        for opened in groups.values():
            stack.callback(opened.close)
        ids = _common_ids(list(groups.values()), seed)
        clusters = [groups[REFERENCE].cluster(sample) for sample in ids]
        weights = bootstrap_weights(clusters, RESAMPLES, rng(seed, "compose/bootstrap"))
        profiles = {
            name: _profile(name, (one.image(sample) for sample in ids), weights) for name, one in groups.items()
        }
        profiles[AUGMENTED] = _profile(AUGMENTED, _augmented(groups, ids, settings, seed), weights)
    table = compare(profiles, REFERENCE)
    with written_whole(out) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    with written_whole(distances) as temporary:
        distance_table(table).to_csv(temporary)


def _common_ids(groups: list[Group], seed: int) -> list[int]:
    """Samples that all groups have, sorted, at most `IMAGES` of them."""
    ids = sorted(reduce(set.intersection, (group.ids for group in groups)))
    if len(ids) < 2:
        names = ", ".join(group.name for group in groups)
        raise CorruptFileError(f"groups {names}", "fewer than two samples are valid in all", "make more samples")
    if len(ids) > IMAGES:
        ids = sorted(rng(seed, "compose/spectrum").choice(ids, IMAGES, replace=False).tolist())
    return ids


def _augmented(groups: dict[str, Group], ids: list[int], settings: Amplitude, seed: int) -> Iterator[np.ndarray]:
    """Composed images after amplitude augmentation, (H, W, 3) uint8; FDA's target is a real image drawn for each."""
    for sample in ids:
        draw = rng(seed, "compose/amplitude_target", sample)
        generator = torch.Generator().manual_seed(integer_seed(seed, "compose/amplitude", sample))
        target = _as_batch(groups[REFERENCE].image(int(draw.choice(ids)))) if settings.method == "fda" else None
        result = augment_amplitude(_as_batch(groups[AUGMENTED_FROM].image(sample)), settings, generator, target)
        yield np.rint(result[0].numpy().transpose(1, 2, 0) * 255.0).astype(np.uint8)


def _as_batch(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(rgb.transpose(2, 0, 1) / np.float32(255.0))[None]


def _profile(name: str, images: Iterator[np.ndarray], weights: np.ndarray) -> Profile:
    spectra, width, count = None, 0, weights.shape[1]
    for index, rgb in track(enumerate(images), count, f"spectra of {name}"):
        amplitudes = log_amplitude(rgb)
        if spectra is None:
            spectra, width = np.empty((count, *amplitudes.shape), np.float32), rgb.shape[1]
        elif amplitudes.shape != spectra.shape[1:]:
            raise CorruptFileError(f"group {name}", "its images are not all of one size", "compare images of one size")
        spectra[index] = amplitudes
    return Profile(spectra, width, BINS, weights)


if __name__ == "__main__":
    run_step(app)
