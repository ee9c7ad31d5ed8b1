"""How fast the render stage is, against a driver that goes about it as HandSynthesis' published script does.

    python benchmarks/render.py             speed at 1 and 16 samples per pixel; share of time outside Cycles
    python benchmarks/render.py --memory    resident memory from the 50th picture to the 500th
    python benchmarks/render.py --samples   the table of docs/rendering.md: quality and time by samples per pixel

All draw the same hands with the same textures under the same maps, where the release puts them: 0.5 m in front of a
camera of 355 px focal length, 224 px. Each has a process of its own with one thread, and they take turns picture by
picture; times are processor seconds, so that other load on the machine counts little and meets all. Samples per pixel
and the denoiser's settings are equal; see `published.py` for what is left at Blender's defaults there.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Protocol

import bpy
import cv2
import numpy as np
import torch
from handgap.core.config.render import Render
from handgap.core.conventions import HANDSYNTHESIS_FOCAL, MM, Side
from handgap.core.files import read_arrays
from handgap.core.geometry import random_rotation
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.kinematics import axis_angles
from handgap.hands.prior import PosePrior
from handgap.hands.render_hand import RenderHand
from handgap.hands.skin.model import TextureModel, TextureSet
from handgap.render.labels import rasterise
from handgap.render.light import expose, find_hdris
from handgap.render.released import CAMERAS, NIMBLE_TO_WORLD, extrinsics
from handgap.render.synthetic import SyntheticShard
from handgap.render.worker import TRIM_EVERY, Renderer
from published import PublishedWay

RESULTS = Path(__file__).resolve().parents[1] / "results"
RENDER, ANNOTATION = RESULTS / "models/open_nimble.npz", RESULTS / "models/open_mano.npz"
TEXTURES = RESULTS / "models/open_nimble_textures.npz"
HDRI_FOLDERS = [RESULTS / "assets" / name for name in ("hdri_bpy", "hdri_pmndrs")]
MAPS = {"diffuse.png": "diffuse", "normal.png": "normal", "spec.png": "roughness"}  # OpenNimble has no specular map
SIZE = 224
DISTANCE = CAMERAS[0][0][2]
CLOSE_FOCAL = 550.0  # px: a hand fills the picture, as in a data set
SPEED_SAMPLES = (1, 16)
STUDY_SAMPLES = (1, 4, 16, 64, 256)
REFERENCE_SAMPLES = 1024
MEMORY_AT = (50, 100, 200, 300, 400, 500)  # pictures


def write_hands(path: Path, count: int, focal: float) -> None:
    """A shard as the fit stage writes it: hands of the pose prior, turned any way, in the middle of the picture."""
    hand, prior, annotation = RenderHand.load(RENDER), PosePrior.load(RENDER), AnnotationHand.load(ANNOTATION)
    generators = [rng(0, "benchmarks/render", k) for k in range(count)]
    pose = np.array([prior.sample_pose(g) for g in generators], np.float32)
    pose[:, :3] = [axis_angles(torch.as_tensor(random_rotation(g))).numpy() for g in generators]
    shape = np.array([prior.sample_shape(g) for g in generators], np.float32)
    with torch.inference_mode():
        vertices = hand(*(torch.as_tensor(part) for part in (pose, shape, np.zeros((count, 3), np.float32)))).vertices
        trans = torch.tensor([0.0, 0.0, DISTANCE]) - vertices[:, hand.surface].mean(1)
        mapped = hand.to_annotation(vertices + trans[:, None])
        joints = annotation.regress_joints(mapped)
    unused = {name: np.zeros((count, n), np.float32) for name, n in (("pose", 48), ("shape", 10), ("trans", 3))}
    columns = unused | {
        "id": np.arange(count),
        "K": np.tile(np.float32([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]]), (count, 1, 1)),
        "joints": joints.numpy(),
        "vertices": mapped.numpy(),
        "side": np.full(count, Side.RIGHT, np.uint8),
        "render_pose": pose,
        "render_shape": shape,
        "render_trans": trans.numpy(),
        "residual_mm": np.zeros(count, np.float32),
        "valid": np.ones(count, bool),
        "flag": [""] * count,
    }
    write_store(path, columns, study="benchmark", seed=0, code="", config="")


class Stage:
    """The render stage on the hands of a fit shard: what `handgap.render.step` does for a row."""

    def __init__(self, hands: Path, samples: int, *, subsurface: bool = True):
        self.textures = TextureSet(TextureModel.load(TEXTURES), 0)
        self.renderer = Renderer(self.textures, samples=samples, threads=1)
        settings = Render(size=SIZE, samples=samples, subsurface=subsurface)
        hdris = find_hdris(HDRI_FOLDERS)
        with Store(hands) as fit:
            self.shard = SyntheticShard(fit, RENDER, self.textures, hdris, settings, 0, "benchmark/train")

    def draw(self, k: int) -> None:
        """Picture and labels of the k-th hand, encoded."""
        row = self.shard.row(k, self.renderer)
        assert row["valid"], row["flag"]

    def write_samples(self, folder: Path) -> list[Path]:
        """The same hands and textures in HandSynthesis' layout; the environment map of each."""
        coordinates, to_file = read_arrays(RENDER)["uv"], extrinsics(0)[:3, :3] @ NIMBLE_TO_WORLD
        hdris = []
        for k in self.shard.ids:
            scene = self.shard.scene(k)
            part, sample = scene.parts[0], folder / f"{k:08d}"
            sample.mkdir(parents=True)
            points = (part.vertices - [0.0, 0.0, DISTANCE]) @ to_file / MM
            corners = np.stack([part.faces, part.uv_faces], -1).reshape(-1, 6) + 1
            lines = ["v {:.5f} {:.5f} {:.5f}".format(*point) for point in points]
            lines += ["vt {:.6f} {:.6f}".format(*coordinate) for coordinate in coordinates]
            lines += ["f {}/{} {}/{} {}/{}".format(*corner) for corner in corners]
            (sample / "skin.obj").write_text("\n".join(lines))
            texture = self.textures.maps(part.material.skin)
            for name, key in MAPS.items():
                cv2.imwrite(str(sample / name), texture[key][..., ::-1])
            hdris.append(scene.light.hdri)
        return hdris


class Driver(Protocol):
    """Draws the k-th hand."""

    def draw(self, k: int) -> None:
        """Picture and annotation."""


def make_driver(name: str, folder: Path, samples: int) -> Driver:
    """One of `DRIVERS` for the hands in a folder."""
    stage = Stage(folder / "hands.h5", samples, subsurface=name == "stage")
    if name != "published way":
        return stage
    out = Path(tempfile.mkdtemp(dir=folder))
    hdris = stage.write_samples(out / "samples")
    return PublishedWay(out / "samples", hdris, out, samples=samples, threads=1, size=SIZE)


DRIVERS = ("published way", "stage, plain skin", "stage")


def serve(name: str, folder: Path, samples: int) -> None:
    """Draw the hands whose numbers come in; answer with seconds in all and seconds inside Blender's render calls."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Blender's lines
    driver, calls = make_driver(name, folder, samples), []
    bpy.app.handlers.render_init.append(lambda *_: calls.append(-time.process_time()))
    bpy.app.handlers.render_complete.append(lambda *_: calls.append(time.process_time()))
    for line in sys.stdin:
        calls.clear()
        start = time.process_time()
        driver.draw(int(line))
        print(time.process_time() - start, sum(calls), file=answers, flush=True)
    os._exit(0)  # Blender's own clean-up may wait for ever on its threads


def compare(folder: Path, count: int) -> None:
    """Seconds a picture of each driver at each number of samples, the mean over `count` pictures."""
    write_hands(folder / "hands.h5", 2 * count, HANDSYNTHESIS_FOCAL)
    print(f"{count} pictures, load of the machine before: {os.getloadavg()[0]:.1f}\n")
    print("| samples | driver | s per picture | pictures per s | in Cycles, s | outside, share of it | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for samples in SPEED_SAMPLES:
        seconds = timed(folder, count, samples)
        for name, (total, inside) in seconds.items():
            ratio = seconds[DRIVERS[0]][0] / total
            figures = f"{total:.3f} | {1 / total:.2f} | {inside:.3f} | {100 * (total / inside - 1):.0f} % | {ratio:.1f}"
            print(f"| {samples} | {name} | {figures} |", flush=True)


def timed(folder: Path, count: int, samples: int) -> dict[str, tuple[float, float]]:
    """Mean seconds a picture of each driver, in all and inside Blender's render calls, of the second half of a run.

    The first half loads kernels and many of the maps.
    """
    found = {name: [] for name in DRIVERS}
    with ExitStack() as stack:
        servers = {}
        for name in DRIVERS:
            command = [sys.executable, __file__, "--serve", name, str(folder), str(samples)]
            server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            servers[name] = stack.enter_context(server)
        for k in range(2 * count):
            for name, server in servers.items():
                print(k, file=server.stdin, flush=True)
                found[name].append([float(value) for value in server.stdout.readline().split()])
    return {name: tuple(np.mean(values[count:], 0)) for name, values in found.items()}


def memory(folder: Path) -> None:
    """Resident memory of one stage as pictures go by, one sample per pixel: the highest of the last pictures.

    The worker gives freed memory back every few pictures, after which less is resident for a moment.
    """
    write_hands(folder / "hands.h5", MEMORY_AT[-1], HANDSYNTHESIS_FOCAL)
    stage = Stage(folder / "hands.h5", 1)
    print("| pictures | resident, MiB |\n| --- | --- |")
    found, recent = [], deque(maxlen=TRIM_EVERY)
    for k in range(MEMORY_AT[-1]):
        stage.draw(k)
        recent.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
        if k + 1 in MEMORY_AT:
            found.append(max(recent))
            print(f"| {k + 1} | {found[-1]:.0f} |", flush=True)
    print(f"\nlast against first: {100 * (found[-1] / found[0] - 1):+.1f} %")


def study(folder: Path, count: int) -> None:
    """PSNR of denoised pictures, as the stage stores them, against many samples of another seed."""
    write_hands(folder / "hands.h5", count, CLOSE_FOCAL)
    found = {samples: [] for samples in STUDY_SAMPLES}
    stage = Stage(folder / "hands.h5", 1)
    cycles = bpy.context.scene.cycles
    for k in range(count):
        scene = stage.shard.scene(k)
        part = scene.parts[0]
        subject = rasterise(part.vertices, part.faces, scene.K, SIZE, SIZE)[0] >= 0
        cycles.samples = REFERENCE_SAMPLES
        reference = expose(stage.renderer.render(replace(scene, seed=scene.seed ^ 1)), subject, 0.0)
        for samples, values in found.items():
            cycles.samples = samples
            start = time.process_time()
            picture = expose(stage.renderer.render(scene), subject, 0.0)
            seconds = time.process_time() - start
            values.append((psnr(picture, reference), psnr(picture[subject], reference[subject]), seconds))
    print(f"{count} scenes, load of the machine after: {os.getloadavg()[0]:.1f}\n")
    print("| samples | PSNR, dB | lowest, dB | PSNR on the hand, dB | lowest, dB | s per picture |")
    print("| --- | --- | --- | --- | --- | --- |")
    for samples, values in found.items():
        whole, hand, seconds = np.transpose(values)
        figures = " | ".join(f"{v:.1f}" for part in (whole, hand) for v in (part.mean(), part.min()))
        print(f"| {samples} | {figures} | {median(seconds):.2f} |")


def psnr(picture: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures, dB."""
    error = np.mean((picture.astype(float) - reference) ** 2)
    return 10.0 * np.log10(255.0**2 / error)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", action="store_true", help="resident memory over 500 pictures")
    parser.add_argument("--samples", action="store_true", help="quality and time by samples per pixel")
    parser.add_argument("--count", type=int, default=12, help="pictures (--samples: scenes)")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.serve:
            driver_name, hands, n_samples = arguments.serve
            serve(driver_name, Path(hands), int(n_samples))
        elif arguments.memory:
            memory(Path(scratch))
        elif arguments.samples:
            study(Path(scratch), arguments.count)
        else:
            compare(Path(scratch), arguments.count)
