"""`python -m handgap.segment.keypoints_step`: real images -> 21 detected 2D joints each; no label is read.

MediaPipe Hands stands in for the OpenPose detections of S2HAND's authors. It gives one confidence a hand, that of its
side, and none a joint: every joint has the hand's.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from handgap.core.conventions import N_JOINTS
from handgap.core.errors import run_step
from handgap.core.images import decode_rgb
from handgap.core.progress import track
from handgap.core.provenance import settings_hash
from handgap.core.store import Store, write_store
from handgap.segment.landmarks import MIN_CONFIDENCE, LandmarkTracker

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
NOT_FOUND = "no hand was detected"


@app.command()
def keypoints(
    real: Annotated[Path, typer.Argument(help="shard of the real side, of which only ids and images are read")],
    out: Annotated[Path, typer.Option(help="detected joints (.h5)")],
    study: Annotated[str, typer.Option(help="name of the study")],
    seed: Annotated[int, typer.Option(help="the study's seed")],
    code: Annotated[str, typer.Option(help="hash of this step's code")],
) -> None:
    """Detect the joints of the most prominent hand of each image: columns id, keypoints, confidence, valid, flag."""
    with Store(real) as store, LandmarkTracker(max_hands=1) as find:
        ids, parents = store.column("id"), [store.digest]
        joints = np.full((len(ids), N_JOINTS, 2), np.nan, np.float32)
        scores = np.zeros((len(ids), N_JOINTS), np.float32)
        for row in track(range(len(ids)), len(ids), "detecting joints"):
            found = find(decode_rgb(store.column("image", row), f"{real}[{row}]"))
            if found:
                joints[row], scores[row] = found[0].joints, found[0].score
    valid = scores[:, 0] > 0
    columns = {
        "id": ids,
        "keypoints": joints,
        "confidence": scores,
        "valid": valid,
        "flag": ["" if found else NOT_FOUND for found in valid],
    }
    config = settings_hash({"detector": "mediapipe hands", "min_confidence": MIN_CONFIDENCE})
    write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=parents)


if __name__ == "__main__":
    run_step(app)
