"""Amplitude spectrum augmentation, batched, on the device of the images: PASTA, and FDA as its alternative.

**PASTA** (Chattopadhyay et al., ICCV 2023): per channel, F = FFT2(x) is multiplied by independent noise of
N(1, sigma^2) at each frequency, sigma = (alpha r / r_max)^k + beta growing with the distance r from zero frequency, and
the real part of the inverse transform is taken.

As F is Hermitian, the real part of the inverse of F * noise is the inverse of F * h, where
h(f) = (noise(f) + noise(-f)) / 2 is real and even. Half of the spectrum is therefore enough, with h drawn directly:
N(1, sigma^2 / 2), but N(1, sigma^2) at the frequencies that are their own mirror image. As published, the noise is not
kept positive: the phase stays what it was where h > 0 and turns by pi where h < 0.
Distances are those of the formula; the published code's index grid is off by one for f < 0.

**FDA** (Yang & Soatto, CVPR 2020): the amplitudes of the lowest frequencies, |row| and |column| <= b with
b = floor(window * min(H, W)), become those of a target image; phases stay.
"""

import math

import torch
from torch import Tensor

from handgap.core.config.train import Amplitude


def noise_scale(height: int, width: int, alpha: float, beta: float, k: float) -> Tensor:
    """PASTA's sigma, (H, W // 2 + 1), of frequencies as `torch.fft.rfft2` lays them out."""
    rows = torch.fft.fftfreq(height, 1.0 / height)
    columns = torch.fft.rfftfreq(width, 1.0 / width)
    radius = torch.hypot(rows[:, None], columns)
    return (alpha * radius / math.hypot(height // 2, width // 2)) ** k + beta


def draw_noise(
    shape: torch.Size, alpha: float, beta: float, k: float, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Factors h of PASTA, (B, C, H, W // 2 + 1), for images of `shape`, on the generator's device."""
    *batch, height, width = shape
    scale = noise_scale(height, width, alpha, beta, k)
    scale[:, 1 : (width + 1) // 2] /= math.sqrt(2.0)
    noise = torch.randn((*batch, *scale.shape), generator=generator, device=generator.device, dtype=dtype)
    torch.addcmul(noise.new_ones(()), noise, scale.to(noise), out=noise)
    # columns that hold both f and -f: without this step, libraries differ in what they make of them
    for column in (0,) if width % 2 else (0, width // 2):
        values = noise[..., column]
        noise[..., column] = (values + values.flip(-1).roll(1, -1)) / 2
    return noise


def scale_amplitude(images: Tensor, noise: Tensor) -> Tensor:
    """Images (B, C, H, W) whose half spectrum is multiplied by real factors (B, C, H, W // 2 + 1); not clipped."""
    spectrum = torch.fft.rfft2(images)
    torch.view_as_real(spectrum).mul_(noise[..., None])  # a complex product would first make the noise complex
    return torch.fft.irfft2(spectrum, s=images.shape[-2:])


def swap_amplitude(images: Tensor, targets: Tensor, window: float) -> Tensor:
    """FDA: images with the low-frequency amplitudes of others; not clipped.

    Args:
        images: (B, C, H, W).
        targets: of the same shape.
        window: half the edge of the swapped square of frequencies, as a share of the shorter side.

    Returns:
        (B, C, H, W).
    """
    half = math.floor(window * min(images.shape[-2:]))
    spectrum, wanted = torch.fft.rfft2(images), torch.fft.rfft2(targets)
    for rows in (slice(0, half + 1), slice(images.shape[-2] - half, None)):
        low = spectrum[..., rows, : half + 1]
        spectrum[..., rows, : half + 1] = torch.polar(wanted[..., rows, : half + 1].abs(), low.angle())
    return torch.fft.irfft2(spectrum, s=images.shape[-2:])


def augment_amplitude(
    images: Tensor, settings: Amplitude, generator: torch.Generator, targets: Tensor | None = None
) -> Tensor:
    """Amplitude augmentation of a batch.

    Args:
        images: (B, C, H, W) in [0, 1], on the generator's device.
        settings: method and its numbers.
        generator: where PASTA's noise comes from.
        targets: (B, C, H, W) in [0, 1], real images; FDA needs them.

    Returns:
        (B, C, H, W) clipped to [0, 1].
    """
    if settings.method == "fda":
        return swap_amplitude(images, targets, settings.window).clamp_(0.0, 1.0)
    noise = draw_noise(images.shape, settings.alpha, settings.beta, settings.k, generator, images.dtype)
    return scale_amplitude(images, noise).clamp_(0.0, 1.0)
