"""Amplitude spectra of image sets: how bright and how varied each spatial frequency is (HandSynthesis, figure 2b)."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

LUMINANCE = np.array([0.299, 0.587, 0.114])
EPSILON = 1e-6
CONFIDENCE = 0.95
TINY = 1e-12


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


def bootstrap_weights(clusters: Sequence[str], resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Weights of images in a cluster bootstrap (Davison & Hinkley 1997, section 3.8): whole clusters are drawn.

    Image sets that hold the same samples in the same order are resampled with the same weights: differences between
    them are then paired.

    Args:
        clusters: of N images, what each shares with others (its light); images that share it are not independent.
        resamples: number of resamples.
        generator: draws them.

    Returns:
        (1 + resamples, N) float32, each row's sum 1; row 0 is the sample itself.
    """
    names, member = np.unique(clusters, return_inverse=True)
    draws = generator.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=resamples)[:, member]
    weights = np.concatenate([np.ones((1, len(member))), draws])
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


class Profile:
    """Mean and variance of log amplitude against radial frequency, with bootstrap resamples of the images.

    Args:
        spectra: (N, H, W // 2 + 1) log amplitudes of N >= 2 images.
        width: W.
        bins: number of radial bins.
        weights: (1 + resamples, N), see `bootstrap_weights`.

    Attributes:
        n: number of images.
        frequency: (bins,) cycles per pixel.
        mean, variance: (1 + resamples, bins); row 0 is the estimate. The variance is that over images, at each
            frequency, then averaged over the bin.
    """

    def __init__(self, spectra: np.ndarray, width: int, bins: int, weights: np.ndarray):
        self.n, height, columns = spectra.shape
        self.frequency, index = radial_bins(height, width, bins)
        flat = spectra.reshape(self.n, -1)
        centre = flat.mean(0)
        flat = flat - centre
        first, second = ((weights @ moment).reshape(len(weights), height, columns) for moment in (flat, flat * flat))
        self.mean = _radial_mean(first + centre.reshape(height, columns), index, bins)
        variance = np.maximum(second - first * first, 0.0) * (self.n / (self.n - 1))
        self.variance = np.maximum(_radial_mean(variance, index, bins), TINY)


def distance(first: Profile, second: Profile) -> np.ndarray:
    """Spectral distance of two image sets, (1 + resamples,); 0 for equal profiles.

    Fréchet distance between the Gaussians of log amplitude in each radial bin, root mean square over bins. Being at
    least 0, it is resampled a little too large where it is near 0.
    """
    squared = (first.mean - second.mean) ** 2 + (np.sqrt(first.variance) - np.sqrt(second.variance)) ** 2
    return np.sqrt(squared.mean(1))


class VarianceRatio:
    """Variance of one group over another's in each band, with what it says about the whole spectrum.

    Args:
        group, reference: profiles of the same samples, resampled with the same weights.

    Attributes:
        value, low, high: (bins,) ratio and its 95 % interval, simultaneous: all bands' ratios lie within theirs in
            95 % of the resamples (largest standardised deviation of the log ratio; Efron & Tibshirani 1993).
        overall: (1 + resamples,) ratio of the variances averaged over the spectrum.
        p_everywhere: p value of "lower in every band". Its negation holds as soon as one band is not lower, so that
            each band is tested one-sided and the largest p value counts; this intersection-union test needs no
            correction for the number of bands (Berger 1982). Never below 1 / (resamples + 1).
    """

    def __init__(self, group: Profile, reference: Profile):
        logs = np.log(group.variance) - np.log(reference.variance)
        estimate, errors = logs[0], logs[1:] - logs[0]
        deviation = np.maximum(errors.std(0), TINY)
        reach = np.quantile(np.abs(errors / deviation).max(1), CONFIDENCE) * deviation
        self.value, self.low, self.high = (np.exp(estimate + side * reach) for side in (0, -1, 1))
        self.overall = group.variance.mean(1) / reference.variance.mean(1)
        self.p_everywhere = float(((errors <= estimate).sum(0) + 1).max() / (len(errors) + 1))


def _row(group: str, reference: str, statistic: str, n: int, samples: np.ndarray, frequency: float = np.nan) -> dict:
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(samples[1:], (tail, 100.0 - tail))
    return _given(group, reference, statistic, n, (samples[0], low, high), frequency)


def _given(
    group: str, reference: str, statistic: str, n: int, interval: tuple[float, float, float], frequency: float = np.nan
) -> dict:
    keys = ("group", "reference", "statistic", "frequency", "value", "ci_low", "ci_high", "n")
    return dict(zip(keys, (group, reference, statistic, frequency, *map(float, interval), n), strict=True))


def compare(profiles: Mapping[str, Profile], reference: str) -> pd.DataFrame:
    """Tidy table of all profiles and of how far they are apart.

    Args:
        profiles: by group; of the same samples, resampled with the same weights.
        reference: the group that variances are compared with.

    Returns:
        Columns group, reference, statistic, frequency (cycles per pixel), value, ci_low, ci_high (95 %, by
        `bootstrap_weights`), n. With one row per band: "mean" and "variance" of each group, "variance_ratio" over the
        reference's (simultaneous interval). With one row, without frequency: "variance_ratio_overall",
        "p_lower_everywhere" (no interval) of each group but the reference, "distance" of each pair of groups.
    """
    rows = []
    for group, profile in profiles.items():
        for statistic, values in (("mean", profile.mean), ("variance", profile.variance)):
            rows += [
                _row(group, "", statistic, profile.n, values[:, k], frequency)
                for k, frequency in enumerate(profile.frequency)
            ]
    for group, profile in profiles.items():
        if group != reference:
            ratio = VarianceRatio(profile, profiles[reference])
            bands = zip(ratio.value, ratio.low, ratio.high, strict=True)
            about = (group, reference)
            rows += [
                _given(*about, "variance_ratio", profile.n, band, frequency)
                for frequency, band in zip(profile.frequency, bands, strict=True)
            ]
            rows.append(_row(*about, "variance_ratio_overall", profile.n, ratio.overall))
            p_value = (ratio.p_everywhere, np.nan, np.nan)
            rows.append(_given(*about, "p_lower_everywhere", profile.n, p_value))
    for second, first in combinations(profiles, 2):
        apart = distance(profiles[first], profiles[second])
        rows.append(_row(first, second, "distance", profiles[first].n, apart))
    return pd.DataFrame(rows)


def distance_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """Distances of all pairs as a small table for reading: one row and one column per group, "value [low, high]"."""
    pairs = comparison[comparison.statistic == "distance"]
    groups = list(dict.fromkeys([*pairs.reference, *pairs.group]))
    table = pd.DataFrame("0", index=pd.Index(groups, name="group"), columns=groups)
    for pair in pairs.itertuples():
        text = f"{pair.value:.3f} [{pair.ci_low:.3f}, {pair.ci_high:.3f}]"
        table.loc[pair.group, pair.reference] = table.loc[pair.reference, pair.group] = text
    return table
