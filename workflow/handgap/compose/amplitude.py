"""Amplitude spectrum augmentation: PASTA (Chattopadhyay et al., ICCV 2023), batched.

Per channel, F = FFT2(x) is multiplied by noise of N(1, sigma^2), sigma = (alpha r / r_max)^k + beta growing with the
distance r from zero frequency, and the real part of the inverse transform is taken. Amplitudes change, phases do not.

F being Hermitian, the real part of the inverse of F * noise is the inverse of F * (noise(f) + noise(-f)) / 2, so half
the spectrum is enough: columns whose mirror image is not stored get the mean noise of two frequencies, sigma / sqrt(2);
the first and (even widths) last column get plain noise, which the inverse real transform symmetrises itself.
Distances are those of the formula; the published code's index grid is off by one for f < 0.
"""

import math

import torch


def noise_scale(height: int, width: int, alpha: float, beta: float, k: float) -> torch.Tensor:
    """Standard deviation of the noise, (H, W // 2 + 1), of frequencies as `torch.fft.rfft2` lays them out."""
    rows = torch.fft.fftfreq(height, 1.0 / height)
    columns = torch.fft.rfftfreq(width, 1.0 / width)
    radius = torch.hypot(rows[:, None], columns)
    return (alpha * radius / math.hypot(height // 2, width // 2)) ** k + beta


def draw_noise(
    shape: torch.Size, alpha: float, beta: float, k: float, generator: torch.Generator, dtype: torch.dtype
) -> torch.Tensor:
    """Factors (B, C, H, W // 2 + 1) of the half spectrum of images of `shape`, on the generator's device."""
    *batch, height, width = shape
    scale = noise_scale(height, width, alpha, beta, k)
    mirrored = slice(1, (width + 1) // 2)
    scale[:, mirrored] /= math.sqrt(2.0)
    noise = torch.randn((*batch, *scale.shape), generator=generator, device=generator.device, dtype=dtype)
    return noise.mul_(scale.to(noise)).add_(1.0)


def scale_amplitude(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Multiply amplitudes, keep phases; not clipped.

    Args:
        images: (B, C, H, W).
        noise: (B, C, H, W // 2 + 1) factors.
    """
    return torch.fft.irfft2(torch.fft.rfft2(images).mul_(noise), s=images.shape[-2:])


def augment_amplitude(
    images: torch.Tensor, alpha: float, beta: float, k: float, generator: torch.Generator
) -> torch.Tensor:
    """PASTA of a batch.

    Args:
        images: (B, C, H, W) in [0, 1], on the generator's device.
        alpha, beta, k: growth with frequency, value at zero frequency, exponent (the paper: 3.0, 0.25, 2).
        generator: where the noise comes from.

    Returns:
        (B, C, H, W) clipped to [0, 1].
    """
    noise = draw_noise(images.shape, alpha, beta, k, generator, images.dtype)
    return scale_amplitude(images, noise).clamp_(0.0, 1.0)
