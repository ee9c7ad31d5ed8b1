"""Time of amplitude augmentation against that of its forward and inverse FFT alone.

    python benchmarks/amplitude.py --threads 2
    python benchmarks/amplitude.py --device cuda

Repetitions take turns, so that other load on the machine meets all; ratios are medians over neighbouring runs.
"""

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated

import torch
import typer
from handgap.compose.amplitude import augment_amplitude
from handgap.core.config.train import Amplitude

WARM_UP = 3


def main(
    size: Annotated[int, typer.Option(min=8, help="edge of the images, px")] = 224,
    batch: Annotated[int, typer.Option(min=1, help="images at once")] = 64,
    device: Annotated[str, typer.Option(help="of torch")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="threads of torch")] = 1,
    repetitions: Annotated[int, typer.Option(min=1, help="timed runs of each, after some untimed ones")] = 20,
) -> None:
    """Print median times and median ratios to the FFTs."""
    torch.set_num_threads(threads)
    generator = torch.Generator(device).manual_seed(0)
    images, targets = (torch.rand(batch, 3, size, size, generator=generator, device=device) for _ in range(2))
    pasta, fda = Amplitude(method="pasta"), Amplitude(method="fda")
    runs: dict[str, Callable[[], torch.Tensor]] = {
        "FFT and inverse": lambda: torch.fft.irfft2(torch.fft.rfft2(images), s=images.shape[-2:]),
        "PASTA": lambda: augment_amplitude(images, pasta, generator),
        "FDA": lambda: augment_amplitude(images, fda, generator, targets),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(-WARM_UP, repetitions):
        for name, run in runs.items():
            elapsed = _seconds(run, device)
            if repetition >= 0:
                seconds[name].append(elapsed)
    load = f"load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores"
    print(f"{batch} x 3 x {size} x {size}, {device}, {threads} threads, torch {torch.__version__}; {load}")
    alone = seconds["FFT and inverse"]
    for name, times in seconds.items():
        ratio = median(a / b for a, b in zip(times, alone, strict=True))
        print(f"{name:16} {1e3 * median(times):8.2f} ms {ratio:6.2f}")


def _seconds(run: Callable[[], torch.Tensor], device: str) -> float:
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
