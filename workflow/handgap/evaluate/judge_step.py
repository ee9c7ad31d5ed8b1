"""`python -m handgap.evaluate.judge_step`: renders -> the numbers of a judge trained on real people."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from handgap.core.errors import ConfigError, run_step
from handgap.core.images import decode_rgb
from handgap.core.progress import track
from handgap.core.store import ShardedStore
from handgap.evaluate.hands_found import judge, summarise
from handgap.evaluate.tidy import write_csv
from handgap.segment.landmarks import LandmarkTracker

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def judge_renders(
    group: Annotated[list[str], typer.Option(help="name=shard,shard,...; repeat it")],
    out: Annotated[Path, typer.Option(help="one row per group (.csv)")],
) -> None:
    """Ask MediaPipe Hands where the hands are, and compare with the labels."""
    rows = []
    for text in group:
        name, _, paths = text.partition("=")
        if not paths:
            raise ConfigError(f"--group {text}", "no shards in it", "pass --group NAME=SHARD,SHARD,...")
        with ShardedStore(paths.split(",")) as store, LandmarkTracker(1) as find:
            joints, K, valid = (store.column(column) for column in ("joints", "K", "valid"))
            samples = [index for index in range(len(store)) if valid[index]]
            judged = [
                judge(find, decode_rgb(store.row("image", k), store.origin(k)), joints[k], K[k])
                for k in track(samples, len(samples), f"looking for hands in {name}")
            ]
        rows.append({"domain": name, "images": len(samples), **summarise(judged)})
    write_csv(out, pd.DataFrame(rows))


if __name__ == "__main__":
    run_step(app)
