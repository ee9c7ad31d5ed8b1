import json

import numpy as np
import pandas as pd
import pytest
import torch
from handgap.compose.amplitude import augment_amplitude, draw_noise, noise_scale, scale_amplitude
from handgap.compose.spectrum import Profile, compare, log_amplitude, radial_bins
from handgap.compose.step import app
from handgap.core.images import encode_rgb
from handgap.core.seeds import rng
from handgap.core.store import write_store
from typer.testing import CliRunner

SETTINGS = {"alpha": 3.0, "beta": 0.25, "k": 2.0}


def images(batch: int, height: int, width: int) -> np.ndarray:
    return rng(0, "test/amplitude").random((batch, 3, height, width))


def half_noise(full: np.ndarray) -> np.ndarray:
    """Noise of the half spectrum that does what PASTA's noise of the whole one does."""
    width = full.shape[-1]
    mirrored = np.roll(full[..., ::-1, ::-1], (1, 1), (-2, -1))
    half = (full + mirrored)[..., : width // 2 + 1] / 2
    half[..., 0] = full[..., 0]
    if width % 2 == 0:
        half[..., -1] = full[..., width // 2]
    return half


@pytest.mark.parametrize("size", [(16, 20), (15, 21), (16, 21)])
def test_equals_the_formula_written_out(size):
    x = images(2, *size)
    noise = rng(0, "test/noise").normal(1.0, 2.0, x.shape)
    spectrum = np.fft.fft2(x)
    expected = np.fft.ifft2(np.abs(spectrum) * noise * np.exp(1j * np.angle(spectrum))).real
    result = scale_amplitude(torch.from_numpy(x), torch.from_numpy(half_noise(noise)))
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("size", [(16, 20), (15, 21)])
def test_noise_is_distributed_as_the_formulas(size):
    height, width = size
    shape = torch.Size((4000, 1, height, width))
    drawn = draw_noise(shape, **SETTINGS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    radius = np.hypot(np.fft.fftfreq(height, 1 / height)[:, None], np.fft.fftfreq(width, 1 / width))
    sigma = (3.0 * radius / np.hypot(height // 2, width // 2)) ** 2 + 0.25
    np.testing.assert_allclose(noise_scale(height, width, **SETTINGS), sigma[:, : width // 2 + 1], rtol=1e-5)
    full = rng(0, "test/full").normal(1.0, sigma, (4000, 1, height, width))
    expected = half_noise(full)
    np.testing.assert_allclose(drawn.std(0).numpy(), expected.std(0), rtol=0.12)
    np.testing.assert_allclose(drawn.mean(0).numpy(), 1.0, atol=0.5)


def test_sigma_runs_from_beta_to_alpha_squared_plus_beta():
    scale = noise_scale(224, 224, **SETTINGS)
    assert scale[0, 0] == pytest.approx(0.25)
    assert scale.max() == pytest.approx(9.25)


def test_phase_is_kept():
    x = torch.from_numpy(images(2, 32, 32)).float()
    noise = draw_noise(x.shape, **SETTINGS, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    before, after = torch.fft.fft2(x.double()), torch.fft.fft2(scale_amplitude(x.double(), noise.double()))
    turned = torch.exp(1j * (after.angle() - before.angle()))
    off_sign = torch.minimum((turned - 1).abs(), (turned + 1).abs())  # a negative factor turns the phase by pi
    assert off_sign[after.abs() > 1e-6].max() < 1e-5


def test_augmentation_is_seeded_clipped_and_off_for_no_noise():
    x = torch.from_numpy(images(2, 32, 32)).float()
    first, again, other = (
        augment_amplitude(x, **SETTINGS, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    still = augment_amplitude(x, 0.0, 0.0, 2.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(still, x, atol=1e-5, rtol=0)


def test_log_amplitude_of_a_cosine_is_a_single_peak():
    wave = np.cos(2 * np.pi * 8 * np.arange(64) / 64)
    rgb = np.rint(127.5 + 100 * np.broadcast_to(wave[None, :, None], (64, 64, 3))).astype(np.uint8)
    spectrum = log_amplitude(rgb)
    spectrum[0, 0] = -np.inf
    assert np.unravel_index(spectrum.argmax(), spectrum.shape) == (0, 8)
    assert np.exp(spectrum.max()) == pytest.approx(64 * 100 / 255 / 2, rel=0.01)
    centres, index = radial_bins(64, 64, 16)
    assert centres[index[0, 8]] - 1 / 64 <= 8 / 64 <= centres[index[0, 8]] + 1 / 64
    assert index[0, 0] == -1


def spectra(scale: float, n: int, shift: float = 0.0) -> np.ndarray:
    return (shift + scale * rng(0, "test/spectra", n).normal(size=(n, 32, 17))).astype(np.float32)


def profile(values: np.ndarray) -> Profile:
    return Profile(values, 32, 8, 200, rng(0, "test/bootstrap"))


def test_profile_is_the_plain_mean_and_variance():
    values = spectra(2.0, 50, shift=5.0)
    result, (_, index) = profile(values), radial_bins(32, 32, 8)
    for k in range(8):
        assert result.mean[0, k] == pytest.approx(values[:, index == k].mean(), rel=1e-4)
        assert result.variance[0, k] == pytest.approx(values.var(0, ddof=1)[index == k].mean(), rel=1e-3)


def test_comparison_states_what_was_put_in():
    table = compare({"real": profile(spectra(2.0, 400)), "flat": profile(spectra(1.0, 300, 0.5))}, "real")
    numbers = table[table.reference == "real"].set_index("statistic")
    assert numbers.loc["variance_ratio", "value"] == pytest.approx(0.25, abs=0.01)
    assert numbers.loc["variance_ratio", "ci_low"] < 0.25 < numbers.loc["variance_ratio", "ci_high"]
    assert numbers.loc["distance", "value"] == pytest.approx(np.hypot(0.5, 1.0), abs=0.03)
    same = compare({"real": profile(spectra(2.0, 100)), "same": profile(spectra(2.0, 100))}, "real")
    assert same[same.statistic == "distance"].value.item() == pytest.approx(0.0, abs=1e-6)


def test_spectrum_step(tmp_path):
    for name, contrast in (("real", 100), ("composed", 40)):
        pixels = 128 + rng(0, "test/step").integers(-contrast, contrast, (6, 64, 64, 3))
        pixels[:3] = 128  # images differ in their amplitudes
        columns = {
            "id": np.arange(6),
            "image": [encode_rgb(image.astype(np.uint8)) for image in pixels],
            "valid": np.ones(6, bool),
        }
        write_store(tmp_path / f"{name}.h5", columns, study="t", seed=0, code="c", config="k")
    arguments = [part for name in ("real", "composed") for part in ("--group", f"{name}={tmp_path / name}.h5")]
    out = tmp_path / "spectra.csv"
    arguments = ["spectrum", *arguments, "--amplitude", json.dumps(SETTINGS), "--seed", "0", "--out", str(out)]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    table = pd.read_csv(out)
    assert set(table.group) == {"real", "composed", "augmented"}
    assert len(table[(table.group == "real") & (table.statistic == "mean")]) == 32
