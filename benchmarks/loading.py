"""How fast training samples come out of the store, random access, against loose files; and at a million samples.

    python benchmarks/loading.py            # rates, what the time goes into, formats, a million samples
    python benchmarks/loading.py --rounds 9 # on a machine with other load

Images of a study's split are repeated until there are enough. The loose files are what a loader of published code
reads: an image file with the same bytes, and a JSON with K, joints, vertices and side, rounded to a micrometre. Both
ways share decoder, crop and augmentation; the loader has two processes, and nothing is kept in memory. A million
samples are the same shards under many names (hard links): the index is that of a million, the pages are those of a few
thousand, so that the disk is left out. Rates are the best of several rounds in turn; the processor time, which other
load on the machine lengthens less, is that of all processes.
"""

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from handgap.core.config.train import Train
from handgap.core.images import decode_rgb
from handgap.core.seeds import rng
from handgap.core.store import ShardedStore, write_store
from handgap.data.augment import draw, training_sample
from handgap.data.batches import Mixture, Source
from handgap.data.samples import LABELS, Sample, Samples
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).resolve().parents[1]
MILLION = 1_000_000
COLUMNS = Samples.columns
FORMATS = {
    "WebP, lossless": (".webp", (cv2.IMWRITE_WEBP_QUALITY, 101)),
    "PNG": (".png", ()),
    "JPEG, quality 95": (".jpg", (cv2.IMWRITE_JPEG_QUALITY, 95)),
}


class Loose:
    """Image files and one JSON each, by number."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __getitem__(self, row: int) -> Sample:
        encoded = np.fromfile(self.folder / f"{row:08d}.img", np.uint8)
        labels = json.loads((self.folder / f"{row:08d}.json").read_text())
        arrays = (np.array(labels[name], np.float32) for name in ("K", "joints", "vertices"))
        return Sample(row, decode_rgb(encoded), *arrays, labels["side"])


class Cropped(Dataset):
    """What a network trains on, of either."""

    def __init__(self, samples: Loose | Samples, settings: Train, crop: bool):
        self.samples, self.settings, self.crop = samples, settings, crop

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        sample = self.samples[row]
        if not self.crop:
            return {"image": sample.image.copy(), "joints": sample.joints, "vertices": sample.vertices}
        drawn = draw(rng(0, "benchmark", row), self.settings)
        return training_sample(sample, self.settings.image_size, self.settings.box_expansion, drawn)


def _processor() -> float:
    """Processor seconds of this process and those it has started and waited for."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in used)


def _rates(dataset: Dataset, rows: np.ndarray, workers: int) -> tuple[float, float]:
    """Samples per second of the loader, its start left out; samples per second of processor time, all in."""
    used = _processor()
    batches = iter(DataLoader(dataset, batch_size=32, sampler=rows.tolist(), num_workers=workers))
    next(batches)
    start, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch["joints"])
    wall = time.perf_counter() - start
    del batches  # ends the workers
    return count / wall, len(rows) / (_processor() - used)


def _milliseconds(function: Callable[[int], object], count: int = 300) -> float:
    """Processor time of a call, mean."""
    start = time.process_time()
    for k in range(count):
        function(k)
    return (time.process_time() - start) / count * 1e3


def _write(images: Path, count: int, folder: Path) -> tuple[Path, Path]:
    """The first shard and the folder of loose files with `count` samples, those of a split over and over."""
    with ShardedStore(sorted(images.glob("*.h5"))) as store:
        columns = {name: store.column(name) for name in COLUMNS}
    rows = np.arange(count) % len(columns["K"])
    chosen = {name: values[rows] for name, values in columns.items()}
    shard, loose = folder / "all.h5", folder / "loose"
    chosen |= {"image": list(chosen["image"]), "id": np.arange(count), "valid": np.ones(count, bool)}
    write_store(shard, chosen, study="b", seed=0, code="b", config="b")
    loose.mkdir()
    for k in range(count):
        chosen["image"][k].tofile(loose / f"{k:08d}.img")
        labels = {name: np.round(chosen[name][k].astype(float), 6).tolist() for name in LABELS[:-1]}
        (loose / f"{k:08d}.json").write_text(json.dumps(labels | {"side": int(chosen["side"][k])}))
    return shard, loose


def _million(shard: Path, per_shard: int, folder: Path) -> list[Path]:
    """Hard links to a shard of `per_shard` samples, as many as make a million."""
    small = shard
    if per_shard < len(Samples([shard])):
        small = folder / f"{per_shard}.h5"
        with ShardedStore([shard]) as store:
            part = {name: store.column(name)[:per_shard] for name in (*COLUMNS, "id", "valid")}
        write_store(small, part | {"image": list(part["image"])}, study="b", seed=0, code="b", config="b")
    links = folder / f"million{per_shard}"
    links.mkdir()
    paths = [links / f"{k:05d}.h5" for k in range(-(-MILLION // per_shard))]
    for path in paths:
        os.link(small, path)
    return paths


def _resident() -> float:
    """Memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def main(
    images: Annotated[Path, typer.Option(help="shards")] = ROOT / "results/open/composed/proxyfrei/train/own",
    count: Annotated[int, typer.Option(min=64, help="samples of the small set")] = 2000,
    drawn: Annotated[int, typer.Option(min=64, help="samples a round")] = 4000,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    workers: Annotated[int, typer.Option(min=0)] = 2,
    size: Annotated[int, typer.Option(help="edge of the crop, px")] = 128,
) -> None:
    """Print rates and their ratios."""
    settings = Train(image_size=size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shard, loose = _write(images, count, folder)
        print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {count} samples, {workers} processes")
        sets: dict[str, Loose | Samples] = {"loose files": Loose(loose), "store": Samples([shard])}
        for per_shard in (count, 48):
            paths = _million(shard, per_shard, folder)
            before, start, used = _resident(), time.perf_counter(), _processor()
            samples = Samples(paths)
            took, spent = time.perf_counter() - start, _processor() - used
            grown = _resident() - before
            print(f"a million in {len(paths)} shards: index {took:.1f} s ({spent:.1f} s processor), {grown:.0f} MB")
            sets[f"store, a million in {len(paths)} shards"] = samples
        _print_plan(samples, settings)
        for crop in (False, True):
            rates: dict[str, list[tuple[float, float]]] = {label: [] for label in sets}
            for k in range(rounds):
                for label, source in sets.items():
                    total = count if isinstance(source, Loose) else len(source)
                    rows = rng(k, "benchmark/rows").choice(total, drawn)
                    rates[label].append(_rates(Cropped(source, settings, crop), rows, workers))
            print(
                "image and labels, then also cropped and augmented" if not crop else f"cropped to {size} px, augmented"
            )
            loose_wall, loose_spent = np.max(rates["loose files"], 0)
            for label, values in rates.items():
                wall, spent = np.max(values, 0)
                print(
                    f"  {label:36s} {wall:6.0f} samples/s {wall / loose_wall:5.2f} x;"
                    f" {spent:6.0f} per processor second {spent / loose_spent:5.2f} x"
                )
        _print_split(sets, settings, loose)


def _print_plan(samples: Samples, settings: Train) -> None:
    mixture, before, start = Mixture([Source(samples, True, 1.0)], settings, 0), _resident(), time.perf_counter()
    steps = mixture.steps(0)
    took = time.perf_counter() - start
    print(f"an epoch's plan of {len(mixture)} images, {len(steps)} steps: {took:.1f} s, {_resident() - before:.0f} MB")


def _print_split(sets: dict[str, Loose | Samples], settings: Train, loose: Path) -> None:
    """Processor time of the parts of a sample."""
    store = sets["store"]
    rows = rng(0, "benchmark/split").integers(0, len(store), 300).tolist()
    encoded = [np.fromfile(loose / f"{row:08d}.img", np.uint8) for row in rows]
    texts = [(loose / f"{row:08d}.json").read_text() for row in rows]
    samples = [store[row] for row in rows]
    store._cache.clear()

    def labels(text: str) -> list[np.ndarray]:
        return [np.array(value, np.float32) for value in json.loads(text).values()]

    def files(row: int) -> tuple[np.ndarray, str]:
        return np.fromfile(loose / f"{row:08d}.img", np.uint8), (loose / f"{row:08d}.json").read_text()

    def crop(k: int) -> dict[str, np.ndarray]:
        return training_sample(samples[k], settings.image_size, 1.25, draw(rng(0, "b", k), settings))

    parts = {
        "store: read a row's image and labels": lambda k: [store._rows.read(name, rows[k]) for name in COLUMNS],
        "loose: read image file and JSON": lambda k: files(rows[k]),
        "loose: parse the JSON": lambda k: labels(texts[k]),
        "both: decode the image": lambda k: decode_rgb(encoded[k]),
        f"both: crop to {settings.image_size} px and augment": crop,
    }
    for label, function in parts.items():
        print(f"  {label:42s} {_milliseconds(function):6.3f} ms")
    for label, (suffix, options) in FORMATS.items():
        files_ = [cv2.imencode(suffix, sample.image[..., ::-1], options)[1].ravel() for sample in samples[:60]]
        took, size = _milliseconds(lambda k, f=files_: decode_rgb(f[k % 60])), np.mean([len(f) for f in files_])
        print(f"  {label:42s} {took:6.3f} ms to decode, {size / 1e3:5.1f} kB")


if __name__ == "__main__":
    typer.run(main)
