"""Time of the FreiHAND protocol on 3,960 samples against a plain loop over samples with KD-trees.

    python benchmarks/metrics.py

Both get the same synthetic hands and judge what the official script does: joints and vertices, absolute and aligned,
areas under the PCK curves, F-scores. The loop is timed on the first samples of the set and its time scaled up, in
pieces that take turns with ours, so that other load on the machine meets both. Times are those of this process alone;
reading JSON is timed apart.
"""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/unit"))

import numpy as np  # noqa: E402
import typer  # noqa: E402
from evaluation_hands import challenge, predicted, true_hands  # noqa: E402
from handgap.evaluate.files.number_lists import parse_points  # noqa: E402
from handgap.evaluate.protocols import FREIHAND  # noqa: E402
from handgap.evaluate.scores import evaluate  # noqa: E402

SAMPLES = 3_960


def main(
    noise: Annotated[float, typer.Option(help="of the predictions, metres")] = 0.004,
    loop: Annotated[int, typer.Option(min=1, help="samples of the plain loop in each piece")] = 60,
    pieces: Annotated[int, typer.Option(min=1, help="repetitions")] = 5,
    reading: Annotated[bool, typer.Option(help="time the reading of a pred.json too")] = True,
) -> None:
    """Print both times, their ratio and the largest difference of a metric."""
    truth = true_hands(SAMPLES)
    columns = (*truth, *predicted(truth, noise))
    ours, plain = [], []
    for piece in range(pieces):
        start = time.process_time()
        evaluate(FREIHAND, *columns, camera=True)
        middle = time.process_time()
        part = tuple(column[piece * loop : (piece + 1) * loop] for column in columns)
        expected = challenge(*part, ho3d=False)
        plain.append((time.process_time() - middle) * SAMPLES / loop)
        ours.append(middle - start)
        found = {name: score.mean() for name, score in evaluate(FREIHAND, *part, camera=True).items()}
        apart = max(abs(found[name] - value) for name, value in expected.items())
        print(f"piece {piece}: ours {ours[-1]:.2f} s, loop {plain[-1]:.1f} s, largest difference {apart:.1e}")
    ratio = median(theirs / mine for mine, theirs in zip(ours, plain, strict=True))
    print(
        f"{SAMPLES} samples, noise {1000 * noise:g} mm: PA-MPVPE {found['pa_mpvpe']:.1f} mm, F@5 {found['pa_f5']:.2f}"
    )
    print(f"ours {median(ours):.2f} s, loop {median(plain):.1f} s, ratio {ratio:.1f}")
    print(f"load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    if reading:
        _time_reading(columns[2:])


def _time_reading(pred: tuple[np.ndarray, ...]) -> None:
    data = json.dumps([part.tolist() for part in pred]).encode()
    start = time.process_time()
    parse_points(data, (21, 778), Path("pred.json"), "")
    middle = time.process_time()
    [np.array(part) for part in json.loads(data)]
    end = time.process_time()
    print(f"pred.json of {len(data) / 1e6:.0f} MB: {middle - start:.1f} s, with json {end - middle:.1f} s")


if __name__ == "__main__":
    typer.run(main)
