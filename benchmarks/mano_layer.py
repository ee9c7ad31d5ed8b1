"""Time of the annotation hand's layer against smplx's MANO on the same model: forward and backward on the CPU.

    python benchmarks/mano_layer.py --threads 2

Both take the same global rotation, finger pose, shape and translation and give vertices and joints; the gradient of
all four is computed from one fixed upstream gradient. Repetitions take turns, so that other load on the machine meets
both; where more runs than there are cores, OMP_WAIT_POLICY=passive keeps several threads from waiting for each other.
Needs smplx.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Annotated

import smplx
import torch
import typer
from handgap.core.conventions import MANO_TO_SIMPLE
from handgap.core.files import read_arrays
from handgap.hands.annotation_hand import AnnotationHand
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 5
Layer = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def main(
    model: Annotated[Path, typer.Option(help="annotation hand (.npz)")] = ROOT / "results/models/open_mano.npz",
    batch: Annotated[int, typer.Option(min=1, help="hands at once")] = 256,
    threads: Annotated[int, typer.Option(min=1, help="threads of torch")] = 1,
    repetitions: Annotated[int, typer.Option(min=1, help="timed runs of each, after some untimed ones")] = 40,
) -> None:
    """Print a table of median times and of the median ratio of neighbouring runs."""
    torch.set_num_threads(threads)
    layers = {"handgap": handgap_layer(model), "smplx": smplx_layer(model, batch)}
    g = torch.Generator().manual_seed(0)
    scales = {"global_orient": (3, 1.0), "hand_pose": (45, 0.4), "betas": (10, 1.0), "transl": (3, 0.3)}
    inputs = [scale * torch.randn(batch, n, generator=g) for n, scale in scales.values()]
    upstream = [torch.randn(batch, n, 3, generator=g) for n in (778, 16)]
    outputs = [layer(*inputs) for layer in layers.values()]
    apart = max(float((ours - theirs).abs().max()) for ours, theirs in zip(*outputs, strict=True))
    times = compare(layers, [x.requires_grad_() for x in inputs], upstream, repetitions)
    print(f"batch {batch}, {threads} threads, {repetitions} repetitions, torch {torch.__version__}")
    print(f"largest difference {apart:.1e} m; load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores")
    print(f"{'':18} {'handgap':>10} {'smplx':>10} {'ratio':>6}")
    for step, seconds in times.items():
        ours, theirs = (1e3 * median(seconds[name]) for name in layers)
        ratio = median(a / b for a, b in zip(*seconds.values(), strict=True))
        print(f"{step:18} {ours:7.2f} ms {theirs:7.2f} ms {ratio:6.2f}")


def handgap_layer(model: Path) -> Layer:
    """Our layer: vertices (B, 778, 3) and kinematic joints (B, 16, 3), MANO's order."""
    hand = AnnotationHand.load(model)
    in_mano_order = MANO_TO_SIMPLE.argsort()[:16]

    def layer(turn: Tensor, fingers: Tensor, shape: Tensor, trans: Tensor) -> tuple[Tensor, Tensor]:
        pose = hand.full_pose(turn, fingers, use_pca=False, flat_hand_mean=False)
        out = hand(pose, shape, trans)
        return out.vertices, out.joints[:, in_mano_order]

    return layer


def smplx_layer(model: Path, batch: int) -> Layer:
    """The same of smplx, from the arrays of the same file."""
    arrays = read_arrays(model, {"posedirs"})
    own = {name: arrays[name] for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")}
    pose = {name: arrays[name] for name in ("hands_mean", "hands_components")}
    data = SimpleNamespace(**own, **pose, f=arrays["faces"], kintree_table=arrays["parents"][None])
    hand = smplx.MANO("", data_struct=data, use_pca=False, flat_hand_mean=False, batch_size=batch)

    def layer(turn: Tensor, fingers: Tensor, shape: Tensor, trans: Tensor) -> tuple[Tensor, Tensor]:
        out = hand(global_orient=turn, hand_pose=fingers, betas=shape, transl=trans)
        return out.vertices, out.joints

    return layer


def compare(
    layers: dict[str, Layer], inputs: list[Tensor], upstream: list[Tensor], repetitions: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each repetition by step and layer; a few more repetitions come first, untimed."""
    times = {step: {name: [] for name in layers} for step in ("forward", "forward + backward")}
    for repetition in range(-WARM_UP, repetitions):
        for name, layer in layers.items():
            start = time.perf_counter()
            outputs = layer(*inputs)
            middle = time.perf_counter()
            torch.autograd.grad(outputs, inputs, upstream)
            end = time.perf_counter()
            if repetition >= 0:
                times["forward"][name].append(middle - start)
                times["forward + backward"][name].append(end - start)
    return times


if __name__ == "__main__":
    typer.run(main)
