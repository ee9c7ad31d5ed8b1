"""The steps as the rules call them, at a toy size: one process a command."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import ROOT

COMMON = ("--study", "toy", "--seed", "5", "--code", "c0de")
RENDER = json.dumps({"size": 64, "samples": 1})
DATASET = json.dumps({"held_object_ratio": 0.5, "clutter_ratio": 0.5})
SEGMENT = json.dumps({"input_size": 256})
RANDOM = json.dumps({"arm": "random", "object": "random"})
EVALUATE = json.dumps({"bootstrap": 20})


def start(arguments: Sequence[object]) -> subprocess.Popen[str]:
    """A step, started in the background on one thread."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(arguments: Sequence[object]) -> None:
    """A step, run to its end, which must be a good one."""
    process = start(arguments)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]


class Commands:
    """Command lines over the assets and models of `results`."""

    def __init__(self, results: Path):
        self.nimble, self.mano = results / "models/open_nimble.npz", results / "models/open_mano.npz"
        self._assets = results / "assets"
        self._skins = ("--skins", results / "models/open_nimble_skins.h5")
        self._textures = ("--textures", results / "models/open_nimble_textures.npz")
        self._hdris = ("--hdri-dir", self._assets / "hdri_bpy")
        self._hands = ("--render-hand", self.nimble, "--annotation-hand", self.mano)

    def proxy(self, out: Path, first: int, count: int) -> list[object]:
        ids = ("--dataset", "proxyfrei", "--split", "train", "--first", first, "--count", count)
        settings = ("--dataset-settings", DATASET, "--settings", RENDER, "--objects", '["procedural"]')
        command = ["handgap.render.step", "proxy", *ids, *settings, *self._hands, *self._skins, *self._hdris]
        return [*command, "--state", state_of(out), "--out", out, *COMMON]

    def fit(self, real: Path, out: Path) -> list[object]:
        return ["handgap.hands.fit.step", real, *self._hands, "--settings", "{}", "--out", out, *COMMON]

    def synthetic(self, fit: Path, out: Path) -> list[object]:
        options = ("--dataset", "proxyfrei", "--split", "train", "--settings", RENDER, "--state", state_of(out))
        command = ["handgap.render.step", "synthetic", fit, "--render-hand", self.nimble, *self._textures, *self._hdris]
        return [*command, *options, "--out", out, *COMMON]

    def masks(self, real: Path, out: Path) -> list[object]:
        options = ("--weights", self._assets / "mobilesam/mobile_sam.pt", "--annotation-hand", self.mano)
        return ["handgap.segment.step", "masks", real, *options, "--settings", SEGMENT, "--out", out, *COMMON]

    def compose(self, synthetic: Path, real: Path, masks: Path, out: Path, count: int) -> list[object]:
        options = ("--variant", "random", "--composition", RANDOM, "--real", real, "--masks", masks)
        return ["handgap.compose.step", synthetic, *options, "--split-size", count, "--out", out, *COMMON]

    def train(self, real: Path, composed: Path, out: Path, epochs: int) -> list[object]:
        sources = [{"synthetic": False, "shards": [str(real)]}, {"synthetic": True, "shards": [str(composed)]}]
        network = {"architecture": "simplehand", "backbone": "efficientnet_lite0", "pretrained": True}
        settings = {"image_size": 64, "batch": 2, "epochs": epochs}
        options = [text for source in sources for text in ("--source", json.dumps(source))]
        options += ["--network", json.dumps(network), "--settings", json.dumps(settings), "--amplitude", "{}"]
        options += ["--weights", self._assets / "efficientnet_lite0", "--annotation-hand", self.mano]
        options += ["--state", state_of(out), "--curves", out.with_name("curves.csv"), "--run-seed", 1]
        return ["handgap.train.step", *options, "--out", out, *COMMON]


def state_of(out: Path) -> Path:
    """Folder of a step's state while its output is not there."""
    return out.parent / "state" / out.stem
