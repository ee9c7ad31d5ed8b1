import json

import numpy as np
import pandas as pd
import pytest
from handgap.compose.spectrum import (
    Profile,
    VarianceRatio,
    bootstrap_weights,
    compare,
    distance_table,
    log_amplitude,
    radial_bins,
)
from handgap.compose.spectrum_step import Group, app
from handgap.core.errors import ConfigError, CorruptFileError
from handgap.core.images import encode_rgb
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from handgap.report import figures
from typer.testing import CliRunner

BANDS, SIZE = 8, 32


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


def spectra(scale: float | np.ndarray, n: int, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return (shift + scale * rng(0, "test/spectra", seed).normal(size=(n, SIZE, 17))).astype(np.float32)


def profile(values: np.ndarray, resamples: int = 200, seed: int = 0) -> Profile:
    weights = bootstrap_weights(range(len(values)), resamples, rng(0, "test/bootstrap", seed))
    return Profile(values, SIZE, BANDS, weights)


def by_band(values: list[float]) -> np.ndarray:
    """A value for each frequency, by its band."""
    return np.array([*values, 1.0])[radial_bins(SIZE, SIZE, BANDS)[1]]


def test_profile_is_the_plain_mean_and_variance():
    values = spectra(2.0, 50, shift=5.0)
    result, (_, index) = profile(values), radial_bins(SIZE, SIZE, BANDS)
    for k in range(BANDS):
        assert result.mean[0, k] == pytest.approx(values[:, index == k].mean(), rel=1e-4)
        assert result.variance[0, k] == pytest.approx(values.var(0, ddof=1)[index == k].mean(), rel=1e-3)


def test_a_resample_is_the_profile_of_the_images_it_draws():
    values = spectra(2.0, 20)
    weights = bootstrap_weights(range(20), 5, rng(0, "test/bootstrap"))
    drawn = np.repeat(values, np.rint(weights[3] * 20).astype(int), axis=0)
    assert len(drawn) == 20
    again = Profile(drawn, SIZE, BANDS, bootstrap_weights(range(20), 1, rng(0, "test/bootstrap")))
    result = Profile(values, SIZE, BANDS, weights)
    np.testing.assert_allclose(result.mean[3], again.mean[0], atol=1e-5)
    np.testing.assert_allclose(result.variance[3], again.variance[0], rtol=1e-4)


def test_a_resample_draws_whole_clusters():
    weights = bootstrap_weights(["b", "a", "b", "c", "b"], 2000, rng(0, "test/clusters"))
    np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(weights[0], 0.2)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 4]).all()
    alone = np.isclose(weights[1:, [0, 1, 3]] * [3, 1, 1], 1.0).mean(0)
    np.testing.assert_allclose(alone, 1 / 27, atol=0.02)  # three draws of three clusters, all the same one


def test_images_that_share_their_light_give_wider_intervals():
    light = np.repeat(rng(0, "test/light").normal(size=(10, 1, 1)), 20, axis=0)
    values = (light + spectra(0.3, 200)).astype(np.float32)
    apart, together = (
        Profile(values, SIZE, BANDS, bootstrap_weights(clusters, 300, rng(0, "test/bootstrap"))).mean[1:].std(0)
        for clusters in (range(200), np.repeat(np.arange(10), 20))
    )
    assert (together > 3 * apart).all()  # sqrt(20) times


def test_comparison_states_what_was_put_in():
    table = compare({"real": profile(spectra(2.0, 400)), "flat": profile(spectra(1.0, 400, 0.5, seed=1))}, "real")
    numbers = table[table.reference == "real"].set_index("statistic")
    overall = numbers.loc["variance_ratio_overall"]
    assert overall.value == pytest.approx(0.25, abs=0.01)
    assert overall.ci_low < 0.25 < overall.ci_high
    assert numbers.loc["distance", "value"] == pytest.approx(np.hypot(0.5, 1.0), abs=0.03)
    assert numbers.loc["p_lower_everywhere", "value"] == pytest.approx(1 / 201)
    same = compare({"real": profile(spectra(2.0, 100)), "same": profile(spectra(2.0, 100))}, "real")
    assert same[same.statistic == "distance"].value.item() == pytest.approx(0.0, abs=1e-6)


def test_one_band_that_is_not_lower_spoils_the_finding():
    scale = by_band([0.5] * BANDS)
    everywhere = VarianceRatio(profile(spectra(scale, 300)), profile(spectra(1.0, 300, seed=1)))
    scale = by_band([0.5] * 5 + [1.3] + [0.5] * (BANDS - 6))
    all_but_one = VarianceRatio(profile(spectra(scale, 300)), profile(spectra(1.0, 300, seed=1)))
    assert everywhere.p_everywhere < 0.01
    assert (everywhere.high < 1).all()
    assert all_but_one.p_everywhere > 0.99
    assert all_but_one.low[5] > 1
    assert all_but_one.overall[0] < 0.7


@pytest.mark.parametrize("common", [0.0, 1.0])  # exposure moves all frequencies of a photograph together
def test_intervals_hold_for_all_bands_at_once_and_equal_groups_are_seldom_called_lower(common):
    def group(seed: int) -> Profile:
        exposure = common * rng(0, "test/exposure", seed).normal(size=(60, 1, 1))
        return profile((exposure + spectra(0.5, 60, seed=seed)).astype(np.float32), 200, seed // 2)

    missed = lower = 0
    for trial in range(100):
        ratio = VarianceRatio(group(2 * trial), group(2 * trial + 1))
        missed += bool(((ratio.low > 1) | (ratio.high < 1)).any())
        lower += ratio.p_everywhere < 0.05
    assert missed <= 14  # 5 expected of 100
    assert lower <= 12


def test_pairs_are_compared_once_each_and_shown_as_a_table():
    groups = {name: profile(spectra(2.0, 50, shift)) for name, shift in (("real", 0.0), ("b", 1.0), ("c", 3.0))}
    table = compare(groups, "real")
    pairs = table[table.statistic == "distance"]
    assert list(zip(pairs.group, pairs.reference, strict=True)) == [("b", "real"), ("c", "real"), ("c", "b")]
    np.testing.assert_allclose(pairs.value, [1.0, 3.0, 2.0], atol=1e-3)
    matrix = distance_table(table)
    assert list(matrix.index) == list(matrix.columns) == ["real", "b", "c"]
    assert matrix.loc["c", "b"] == matrix.loc["b", "c"] == "2.000 [2.000, 2.000]"
    assert (np.diag(matrix) == "0").all()


@pytest.fixture
def shards(tmp_path):
    for name, contrast, first in (("real", 100, 0), ("synthetic", 60, 0), ("composed", 40, 2)):
        pixels = 128 + rng(0, "test/step").integers(-contrast, contrast, (8, 64, 64, 3))
        pixels[::2] = 128 + (pixels[::2] - 128) // 2  # images differ in their amplitudes
        columns = {
            "id": np.arange(first, first + 8),
            "image": [encode_rgb(image.astype(np.uint8)) for image in pixels],
            "valid": np.arange(8) != 5,
        }
        write_store(tmp_path / f"{name}.h5", columns, study="t", seed=0, code="c", config="k")
    return tmp_path


def measure(folder, names, amplitude=None):
    arguments = [part for name in names for part in ("--group", f"{name}={folder / name}.h5")]
    arguments += ["--amplitude", json.dumps(amplitude or {}), "--seed", "0"]
    arguments += ["--out", str(folder / "spectra.csv"), "--distances", str(folder / "distances.csv")]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    return pd.read_csv(folder / "spectra.csv")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, ["sample 0", "sample 1", "sample 2"]),
        ({"hdri": ["sky", "sky", ""], "sequence": np.array([3, 4, 4])}, ["hdri sky", "hdri sky", "sequence 4"]),
        ({"sequence": np.array([3, 3, 4])}, ["sequence 3", "sequence 3", "sequence 4"]),
    ],
)
def test_samples_are_clustered_by_light_then_sequence(tmp_path, columns, expected):
    columns = {"id": np.arange(3), "valid": np.ones(3, bool)} | columns
    write_store(tmp_path / "real.h5", columns, study="t", seed=0, code="c", config="k")
    group = Group("real", [tmp_path / "real.h5"])
    assert [group.cluster(sample) for sample in range(3)] == expected


def test_the_step_resamples_lights(shards):
    independent = measure(shards, ("real", "synthetic", "composed"))
    with Store(shards / "real.h5") as store:
        columns = {name: store.column(name) for name in store.names}
    columns = {name: list(values) if values.dtype == object else values for name, values in columns.items()}
    write_store(shards / "real.h5", columns | {"hdri": ["sky"] * 8}, study="t", seed=0, code="c", config="k")
    one_light = measure(shards, ("real", "synthetic", "composed"))
    means, before = (found[found.statistic == "mean"] for found in (one_light, independent))
    np.testing.assert_array_equal(means.value, before.value)
    np.testing.assert_allclose(means.ci_high, means.ci_low, rtol=1e-5)  # a single light says nothing about others
    assert (before.ci_high > before.ci_low + 1e-3).all()


@pytest.mark.parametrize("method", ["pasta", "fda"])
def test_spectrum_step(shards, method):
    table = measure(shards, ("real", "synthetic", "composed"), {"method": method})
    assert set(table.group) == {"real", "synthetic", "composed", "augmented"}
    assert len(table[(table.group == "real") & (table.statistic == "mean")]) == 32
    assert set(table.n) == {4}  # ids 2, 3, 4, 6: those valid in every group
    assert pd.read_csv(shards / "distances.csv", index_col=0).shape == (4, 4)
    first = (shards / "spectra.csv").read_bytes()
    measure(shards, ("real", "synthetic", "composed"), {"method": method})
    assert (shards / "spectra.csv").read_bytes() == first


def test_groups_that_cannot_be_compared_are_refused(shards):
    with pytest.raises(ConfigError, match="no group named composed"):
        measure(shards, ("real", "synthetic"))
    columns = {"id": np.arange(40, 48), "image": [encode_rgb(np.zeros((8, 8, 3), np.uint8))] * 8}
    columns["valid"] = np.ones(8, bool)
    write_store(shards / "composed.h5", columns, study="t", seed=0, code="c", config="k")
    with pytest.raises(CorruptFileError, match="fewer than two samples are valid in all"):
        measure(shards, ("real", "synthetic", "composed"))


def finding(scale: float) -> pd.DataFrame:
    groups = {"real": profile(spectra(1.0, 200)), "synthetic": profile(spectra(scale, 200, seed=1))}
    return compare(groups, "real")


def test_the_finding_is_stated_as_the_numbers_say():
    assert "lower in 8 of 8 bands, higher in 0" in figures.spectrum_finding(finding(0.6))
    assert "holds here (p = 0.005" in figures.spectrum_finding(finding(0.6))
    assert "lower in 0 of 8 bands, higher in 8" in figures.spectrum_finding(finding(1.5))
    assert "is not confirmed here (p = 1.000" in figures.spectrum_finding(finding(1.5))
    table = finding(0.6)
    with pytest.raises(CorruptFileError, match="synthetic and real images are not compared"):
        figures.spectrum_finding(table[table.statistic != "variance_ratio"])


def test_the_same_spectra_give_the_same_figure(tmp_path):
    for run in "ab":
        figures.save(figures.spectrum_figure(finding(0.6), "Spectra"), tmp_path / f"{run}.png", tmp_path / f"{run}.svg")
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    with pytest.raises(CorruptFileError, match="columns missing: n"):
        figures.spectrum_figure(finding(0.6).drop(columns="n"), "Spectra")
