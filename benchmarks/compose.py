"""How fast composition is, store to store, and what its time goes into.

    python benchmarks/compose.py --images 1000 --processes 2

Renders, real images and SAM's masks of a study's training split are repeated until there are enough, renumbered and
cut into one shard for each process; then each process runs the compose stage's step on its shard, as Snakemake would
start it. The wall time is that from the first start to the last end; the processor time is that of the processes,
which other load on the machine lengthens less. A second pass in this process, under a profiler, gives the split.
"""

import cProfile
import json
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from handgap.compose.step import compose
from handgap.core.store import Column, ShardedStore, Store, write_store

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("synthetic", "real", "masks")
VARIANT = {"arm": "random", "object": "random"}
PARTS = {  # what the profile is summed up by: functions of the package, none of which calls another
    "decode images": ("decode_rgb",),
    "encode images": ("encode_rgb",),
    "masks and depth": ("decode_mask", "encode_mask", "decode_depth", "encode_depth"),
    "paste": ("paste",),
    "write and check": ("write_store",),
}


def main(
    study: Annotated[Path, typer.Option(help="results of a study with masks")] = ROOT / "results/open",
    dataset: Annotated[str, typer.Option()] = "proxyfrei",
    images: Annotated[int, typer.Option(min=2)] = 1000,
    processes: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Print images per second and the share of each part."""
    with tempfile.TemporaryDirectory() as folder:
        shards = {side: _repeated(study / side / dataset / "train", images, processes, Path(folder)) for side in SIDES}
        commands = [_command(shards, k, images, Path(folder)) for k in range(processes)]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]
        if any([process.wait() for process in running]):
            raise SystemExit("a process failed; run its command by hand to see why: " + " ".join(commands[0]))
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        with Store(Path(folder) / "composed0.h5") as store:
            pasted = float((store.column("object_from") >= 0).mean())
        print(
            f"{images} images, {processes} processes; load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"
        )
        print(f"wall time       {wall:6.1f} s  {images / wall:6.1f} images/s; {pasted:.0%} of them composed")
        print(f"processor time  {cpu:6.1f} s  {images / cpu:6.1f} images/s per core, starting included")
        print(f"peak memory of a process: {after.ru_maxrss / 1024:.0f} MB")
        _print_split(shards, images, Path(folder))


def _repeated(folder: Path, images: int, parts: int, out: Path) -> list[Path]:
    """Shards with `images` samples in all, those of `folder` over and over."""
    side, paths = folder.parents[1].name, []
    with ShardedStore(sorted(folder.glob("*.h5"))) as store:
        columns = {name: store.column(name) for name in store.shards[0].names}
    for k, ids in enumerate(np.array_split(np.arange(images), parts)):
        rows = ids % len(columns["id"])
        chosen: dict[str, Column] = {name: _as_written(values[rows]) for name, values in columns.items()}
        paths.append(out / f"{side}{k}.h5")
        write_store(paths[-1], chosen | {"id": ids}, study="b", seed=0, code="b", config="b")
    return paths


def _as_written(values: np.ndarray) -> Column:
    return list(values) if values.dtype == object else values


def _command(shards: dict[str, list[Path]], k: int, images: int, folder: Path) -> list[str]:
    sources = [text for side in ("real", "masks") for path in shards[side] for text in (f"--{side}", str(path))]
    options = ["--variant", "random", "--composition", json.dumps(VARIANT), "--split-size", str(images)]
    options += ["--out", str(folder / f"composed{k}.h5"), "--study", "b", "--seed", "0", "--code", "b"]
    return [sys.executable, "-m", "handgap.compose.step", str(shards["synthetic"][k]), *sources, *options]


def _print_split(shards: dict[str, list[Path]], images: int, folder: Path) -> None:
    with cProfile.Profile() as profile:
        compose(
            synthetic=shards["synthetic"][0],
            real=shards["real"],
            masks=shards["masks"],
            variant="random",
            composition=json.dumps(VARIANT),
            split_size=images,
            out=folder / "profiled.h5",
            study="b",
            seed=0,
            code="b",
        )
    stats = pstats.Stats(profile)
    seconds: dict[str, float] = {}
    for (_, _, function), (_, _, _, total, _) in stats.stats.items():
        seconds[function] = seconds.get(function, 0.0) + total
    with Store(shards["synthetic"][0]) as store:
        count = len(store)
    spent = {part: sum(seconds.get(name, 0.0) for name in names) for part, names in PARTS.items()}
    spent["the rest (reading)"] = seconds["compose"] - sum(spent.values())
    for part, total in spent.items():
        print(f"  {part:20} {1e3 * total / count:6.2f} ms per image")


if __name__ == "__main__":
    typer.run(main)
