import numpy as np
import pytest
import torch
from handgap.compose.amplitude import augment_amplitude, draw_noise, noise_scale, scale_amplitude, swap_amplitude
from handgap.core.config.train import Amplitude
from handgap.core.seeds import rng

SETTINGS = {"alpha": 3.0, "beta": 0.25, "k": 2.0}
SIZES = [(16, 20), (15, 21), (16, 21), (15, 20)]


def images(batch: int, height: int, width: int, part: int = 0) -> np.ndarray:
    return rng(0, "test/amplitude", part).random((batch, 3, height, width))


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def centred_radius(height: int, width: int) -> np.ndarray:
    """Distance from the centred zero frequency over the largest one, both axes as `numpy.fft.fftshift` puts them."""
    rows, columns = np.arange(height) - height // 2, np.arange(width) - width // 2
    return np.hypot(rows[:, None], columns) / np.hypot(height // 2, width // 2)


def pasta_as_published(x: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The formula on one channel (H, W), with noise (H, W) of the centred spectrum."""
    spectrum = np.fft.fftshift(np.fft.fft2(x))
    amplitude, phase = np.abs(spectrum), np.angle(spectrum)
    return np.fft.ifft2(np.fft.ifftshift(amplitude * noise * np.exp(1j * phase))).real


def even_half(centred: np.ndarray) -> np.ndarray:
    """(noise(f) + noise(-f)) / 2 in the layout of `rfft2`, of noise (..., H, W) of the centred spectrum."""
    noise = np.fft.ifftshift(centred, axes=(-2, -1))
    mirrored = np.roll(noise[..., ::-1, ::-1], (1, 1), (-2, -1))
    return ((noise + mirrored) / 2)[..., : noise.shape[-1] // 2 + 1]


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_formula_written_out(size):
    x = images(2, *size)
    sigma = (3.0 * centred_radius(*size)) ** 2 + 0.25
    noise = rng(0, "test/noise").normal(1.0, sigma, x.shape)
    assert (noise < 0).any()
    expected = [
        [pasta_as_published(*pair) for pair in zip(*sample, strict=True)] for sample in zip(x, noise, strict=True)
    ]
    result = scale_amplitude(torch.from_numpy(x), torch.from_numpy(even_half(noise)))
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-11)


@pytest.mark.parametrize("size", SIZES)
def test_noise_is_distributed_as_the_formulas(size):
    n = 20_000
    drawn = draw_noise(torch.Size((n, 1, *size)), **SETTINGS, generator=draws(0), dtype=torch.float64).numpy()[:, 0]
    sigma = (3.0 * centred_radius(*size)) ** 2 + 0.25
    expected = even_half(rng(0, "test/full").normal(1.0, sigma, (n, *size)))
    deviation = expected.std(0)
    np.testing.assert_allclose(drawn.std(0), deviation, rtol=6.0 / np.sqrt(n))
    assert (np.abs(drawn.mean(0) - 1.0) < 5.5 * deviation / np.sqrt(n)).all()
    kurtosis = (((drawn - 1.0) / deviation) ** 4).mean()
    assert kurtosis == pytest.approx(3.0, abs=0.05)
    flat_drawn, flat_expected = (values[:, :, [0, 1, -1]].reshape(n, -1) for values in (drawn, expected))
    pairs = np.corrcoef(flat_drawn.T) - np.corrcoef(
        flat_expected.T
    )  # first and last columns are tied to themselves, all else is not
    assert np.abs(pairs).max() < 6.0 / np.sqrt(n) * np.sqrt(2)


def test_channels_and_images_get_noise_of_their_own():
    noise = draw_noise(torch.Size((2, 3, 16, 16)), **SETTINGS, generator=draws(0), dtype=torch.float32)
    flat = noise.reshape(6, -1)
    assert len({tuple(row.tolist()) for row in flat}) == 6


def test_sigma_runs_from_beta_to_alpha_squared_plus_beta():
    scale = noise_scale(224, 224, **SETTINGS)
    assert scale[0, 0] == pytest.approx(0.25)
    assert scale.max() == pytest.approx(9.25)


@pytest.mark.parametrize(("dtype", "floor"), [(torch.float64, 1e-6), (torch.float32, 1.0)])
def test_phase_is_kept_where_the_factor_is_positive_and_turned_by_pi_where_it_is_negative(dtype, floor):
    x = torch.from_numpy(images(2, 32, 40)).to(dtype)
    noise = draw_noise(x.shape, **SETTINGS, generator=draws(1), dtype=dtype)
    before, after = torch.fft.rfft2(x.double()), torch.fft.rfft2(scale_amplitude(x, noise).double())
    turn = torch.angle(after / before * torch.sign(noise))
    strong = (before.abs() > floor) & (after.abs() > floor)
    assert strong.float().mean() > 0.6
    assert turn[strong].abs().max() < 1e-5
    assert (noise < 0).any()


def fda_as_published(x: np.ndarray, target: np.ndarray, window: float) -> np.ndarray:
    """Formula 3 of the paper on one channel: a square around the centre of the shifted amplitude is replaced."""
    source, wanted = np.fft.fft2(x), np.fft.fft2(target)
    amplitude, phase = np.fft.fftshift(np.abs(source)), np.angle(source)
    half = int(np.floor(min(x.shape) * window))
    row, column = x.shape[0] // 2, x.shape[1] // 2
    square = np.s_[row - half : row + half + 1, column - half : column + half + 1]
    amplitude[square] = np.fft.fftshift(np.abs(wanted))[square]
    return np.fft.ifft2(np.fft.ifftshift(amplitude) * np.exp(1j * phase)).real


@pytest.mark.parametrize("window", [0.0, 0.07, 0.14, 0.3])
@pytest.mark.parametrize("size", SIZES)
def test_fda_equals_the_formula_written_out(size, window):
    x, target = images(2, *size), images(2, *size, part=1)
    expected = [
        [fda_as_published(*pair, window) for pair in zip(*sample, strict=True)]
        for sample in zip(x, target, strict=True)
    ]
    result = swap_amplitude(torch.from_numpy(x), torch.from_numpy(target), window)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-11)


def test_fda_of_an_image_with_itself_is_the_image():
    x = torch.from_numpy(images(2, 32, 32)).float()
    torch.testing.assert_close(swap_amplitude(x, x, 0.1), x, atol=1e-5, rtol=0)


def test_augmentation_is_seeded_clipped_and_off_for_no_noise():
    x = torch.from_numpy(images(2, 32, 32)).float()
    first, again, other = (augment_amplitude(x, Amplitude(), draws(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    still = augment_amplitude(x, Amplitude(alpha=0.0, beta=0.0), draws(1))
    torch.testing.assert_close(still, x, atol=1e-5, rtol=0)
    targets = torch.from_numpy(images(2, 32, 32, part=1)).float()
    swapped = augment_amplitude(x, Amplitude(method="fda", window=0.1), draws(1), targets)
    torch.testing.assert_close(swapped, swap_amplitude(x, targets, 0.1).clamp(0, 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_what_the_cpu_gives():
    x, targets = (torch.from_numpy(images(4, 64, 48, part)).float() for part in (0, 1))
    noise = draw_noise(x.shape, **SETTINGS, generator=draws(0), dtype=x.dtype)
    torch.testing.assert_close(
        scale_amplitude(x.cuda(), noise.cuda()).cpu(), scale_amplitude(x, noise), atol=1e-4, rtol=0
    )
    swapped = swap_amplitude(x.cuda(), targets.cuda(), 0.1).cpu()
    torch.testing.assert_close(swapped, swap_amplitude(x, targets, 0.1), atol=1e-4, rtol=0)
    there = augment_amplitude(x.cuda(), Amplitude(), torch.Generator("cuda").manual_seed(0))
    assert there.is_cuda
