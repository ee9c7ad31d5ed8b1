"""Amplitude spectra of image sets: how bright and how varied each spatial frequency is (HandSynthesis, figure 2b)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

LUMINANCE = np.array([0.299, 0.587, 0.114])
EPSILON = 1e-6
CONFIDENCE = (2.5, 97.5)


def log_amplitude(rgb: np.ndarray) -> np.ndarray:
    """Natural log of the amplitude of the luminance in [0, 1], per pixel.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W // 2 + 1) float32, frequencies as `numpy.fft.rfft2` lays them out.
    """
    luminance = rgb @ (LUMINANCE / 255.0)
    return np.log(np.abs(np.fft.rfft2(luminance, norm="ortho")) + EPSILON).astype(np.float32)


def radial_bins(height: int, width: int, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Radial frequency bins over (0, 0.5] cycles per pixel; zero frequency and the corners beyond 0.5 are left out.

    Returns:
        Centres (bins,) in cycles per pixel; bin of each frequency (H, W // 2 + 1), -1 where it lies in none.
    """
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    edges = np.linspace(0.0, 0.5, bins + 1)
    index = np.searchsorted(edges, radius, side="left") - 1
    index[(radius == 0.0) | (radius > 0.5)] = -1
    return (edges[1:] + edges[:-1]) / 2, index


def _radial_mean(values: np.ndarray, index: np.ndarray, bins: int) -> np.ndarray:
    """Mean over each bin of (..., H, W // 2 + 1) -> (..., bins)."""
    inside = index >= 0
    membership = np.zeros((int(inside.sum()), bins), np.float32)
    membership[np.arange(len(membership)), index[inside]] = 1.0
    return values[..., inside] @ (membership / membership.sum(0))


class Profile:
    """Mean and variance of log amplitude against radial frequency, with bootstrap resamples over images.

    Args:
        spectra: (N, H, W // 2 + 1) log amplitudes of N >= 2 images.
        width: W.
        bins: number of radial bins.
        resamples: bootstrap resamples.
        generator: draws the resamples.

    Attributes:
        n: number of images.
        frequency: (bins,) cycles per pixel.
        mean, variance: (1 + resamples, bins); row 0 is the estimate. The variance is that over images, at each
            frequency, then averaged over the bin.
    """

    def __init__(self, spectra: np.ndarray, width: int, bins: int, resamples: int, generator: np.random.Generator):
        self.n, height, columns = spectra.shape
        self.frequency, index = radial_bins(height, width, bins)
        draws = generator.multinomial(self.n, np.full(self.n, 1.0 / self.n), size=resamples)
        weights = np.concatenate([np.ones((1, self.n)), draws]).astype(np.float32) / self.n
        flat = spectra.reshape(self.n, -1)
        centre = flat.mean(0)
        flat = flat - centre
        first, second = ((weights @ moment).reshape(len(weights), height, columns) for moment in (flat, flat * flat))
        self.mean = _radial_mean(first + centre.reshape(height, columns), index, bins)
        variance = np.maximum(second - first * first, 0.0) * (self.n / (self.n - 1))
        self.variance = _radial_mean(variance, index, bins)


def _row(group: str, reference: str, statistic: str, frequency: float, samples: np.ndarray, n: int) -> dict:
    low, high = np.percentile(samples[1:], CONFIDENCE)
    return {
        "group": group,
        "reference": reference,
        "statistic": statistic,
        "frequency": frequency,
        "value": float(samples[0]),
        "ci_low": float(low),
        "ci_high": float(high),
        "n": n,
    }


def distance(first: Profile, second: Profile) -> np.ndarray:
    """Spectral distance of two image sets, (1 + resamples,); 0 for equal profiles.

    Fréchet distance between the Gaussians of log amplitude in each radial bin, root mean square over bins.
    """
    squared = (first.mean - second.mean) ** 2 + (np.sqrt(first.variance) - np.sqrt(second.variance)) ** 2
    return np.sqrt(squared.mean(1))


def compare(profiles: Mapping[str, Profile], reference: str) -> pd.DataFrame:
    """Tidy table of all profiles and of how far each is from the reference.

    Args:
        profiles: by group; equal numbers of bins and resamples.
        reference: the group the others are compared with.

    Returns:
        Columns group, reference, statistic, frequency (cycles per pixel), value, ci_low, ci_high (95 %, bootstrap over
        images), n. Statistics "mean" and "variance" have one row per bin; "distance" and "variance_ratio" (mean over
        the spectrum, over the reference's) one per group, without frequency.
    """
    rows = []
    for group, profile in profiles.items():
        for statistic, values in (("mean", profile.mean), ("variance", profile.variance)):
            rows += [
                _row(group, "", statistic, frequency, values[:, k], profile.n)
                for k, frequency in enumerate(profile.frequency)
            ]
    real = profiles[reference]
    for group, profile in profiles.items():
        if group != reference:
            ratio = profile.variance.mean(1) / real.variance.mean(1)
            rows.append(_row(group, reference, "distance", np.nan, distance(profile, real), profile.n))
            rows.append(_row(group, reference, "variance_ratio", np.nan, ratio, profile.n))
    return pd.DataFrame(rows)
