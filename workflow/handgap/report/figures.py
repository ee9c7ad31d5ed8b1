"""Figures as PNG and SVG; the same numbers give the same bytes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from handgap.core.errors import CorruptFileError
from handgap.core.files import written_whole

SETTINGS = {
    "svg.hashsalt": "handgap",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
SIGNIFICANCE = 0.05
NO_LABELS = "learns from detected joints:\nno label to measure errors by"
GROUPS = {
    "real": ("proxy-real", "#1d2330", "-"),
    "synthetic": ("synthetic", "#d1495b", "-"),
    "composed": ("synthetic + arm and object", "#edae49", "-"),
    "augmented": ("… + amplitude augmentation", "#00798c", "--"),
}


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure in the format of each name, without date or program version."""
    for path in paths:
        kind = path.suffix[1:]
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        with matplotlib.rc_context(SETTINGS), written_whole(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=150, metadata=metadata)


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, np.ndarray]:
    """Empty figure (inches) and its axes, row after row, in the house's style."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def spectrum_figure(spectra: pd.DataFrame, title: str) -> Figure:
    """Mean and variance over images of log amplitude against radial frequency, and the variances' ratio to the real.

    Bands are 95 % intervals, those of the ratio simultaneous over all frequencies. Under it stands what the numbers
    say about the paper's finding (`spectrum_finding`).

    Args:
        spectra: columns group, reference, statistic, frequency, value, ci_low, ci_high, n (`compose.spectrum.compare`).
        title: caption's first sentence.

    Raises:
        CorruptFileError: a column or the comparison of the synthetic group with the real one is missing.
    """
    columns = {"group", "reference", "statistic", "frequency", "value", "ci_low", "ci_high", "n"}
    if absent := columns - set(spectra.columns):
        raise CorruptFileError("spectra", f"columns missing: {', '.join(sorted(absent))}", "measure the spectra again")
    figure, axes = new_figure(14, 4.8, 3)
    labels = {
        "mean": "mean of log amplitude",
        "variance": "variance of log amplitude over images",
        "variance_ratio": f"variance over that of {GROUPS['real'][0]}",
    }
    for axis, (statistic, label) in zip(axes, labels.items(), strict=True):
        for group, rows in spectra[spectra.statistic == statistic].groupby("group", sort=False):
            name, colour, line = GROUPS.get(group, (group, None, "-"))
            axis.plot(rows.frequency, rows.value, line, color=colour, lw=1.8, label=f"{name} (n = {rows.n.iloc[0]})")
            axis.fill_between(rows.frequency, rows.ci_low, rows.ci_high, color=colour, alpha=0.18, lw=0)
        axis.set(xlabel="radial frequency (cycles per pixel)", ylabel=label, xlim=(0, 0.5))
    axes[0].legend()
    axes[2].axhline(1.0, color=GROUPS["real"][1], lw=1.0)
    figure.suptitle(title)
    figure.supxlabel(spectrum_finding(spectra), fontsize=9)
    return figure


def spectrum_finding(spectra: pd.DataFrame) -> str:
    """What the measured spectra say about the paper's finding: synthetic variance lower over the whole spectrum.

    Args:
        spectra: see `spectrum_figure`.

    Raises:
        CorruptFileError: the synthetic group is not compared with the real one.
    """
    rows = spectra[(spectra.group == "synthetic") & (spectra.reference == "real")]
    bands = rows[rows.statistic == "variance_ratio"]
    single = rows.set_index("statistic")
    if bands.empty or not {"variance_ratio_overall", "p_lower_everywhere"} <= set(single.index):
        raise CorruptFileError("spectra", "synthetic and real images are not compared", "measure the spectra again")
    overall, p_value = single.loc["variance_ratio_overall"], single.loc["p_lower_everywhere"].value
    verdict = "holds" if p_value < SIGNIFICANCE else "is not confirmed"
    lower, higher = (bands.ci_high < 1).sum(), (bands.ci_low > 1).sum()
    apart = spectra[(spectra.statistic == "distance") & (spectra.reference == "real")]
    real = GROUPS["real"][0]
    distances = ", ".join(f"{row.group} {row.value:.2f}" for row in apart.itertuples())
    return (
        f"Variance, synthetic over {real}: {overall.value:.2f} [{overall.ci_low:.2f}, {overall.ci_high:.2f}] over the "
        f"spectrum; lower in {lower} of {len(bands)} bands, higher in {higher}, the rest undecided (simultaneous 95 % "
        f"intervals).\nThe paper's finding, lower over the whole spectrum, {verdict} here (p = {p_value:.3f}, "
        f"intersection-union test over the bands). Distance to {real}: {distances}."
    )


def curves_figure(curves: dict[str, pd.DataFrame]) -> Figure:
    """Loss and PA-MPJPE per epoch, in training and on images held out: a column for each network.

    Args:
        curves: run, named network-recipe-seed, -> frame with the columns epoch and loss; pa_mpjpe_mm, if the network
            learns from labels; val_loss and val_pa_mpjpe_mm, if images were held out, empty in epochs without a
            validation.

    Raises:
        CorruptFileError: a run lacks a column.
    """
    networks = {run: run.partition("-")[0] for run in curves}
    names = list(dict.fromkeys(networks.values()))
    figure, grid = new_figure(max(4.6, 3.6 * len(names)), 6.4, len(names), rows=2)
    for network, (above, below) in zip(names, grid.reshape(2, -1).T, strict=True):
        for colour, run in enumerate(run for run in curves if networks[run] == network):
            _draw_run(above, below, run, curves[run], f"C{colour}")
        above.set(title=network, yscale="log")
        for set_formatter in (above.yaxis.set_major_formatter, above.yaxis.set_minor_formatter):
            set_formatter(StrMethodFormatter("{x:.3g}"))
        below.set(xlabel="epoch")
        if below.lines:
            below.set(ylim=(0, 1.1 * below.dataLim.y1))
        else:
            below.text(0.5, 0.5, NO_LABELS, transform=below.transAxes, ha="center", va="center", fontsize=9)
            below.set(xlim=above.get_xlim(), yticks=[])
        for axis in (above, below):
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        above.legend(fontsize=8)
    grid[0].set_ylabel("loss")
    grid[len(names)].set_ylabel("PA-MPJPE (mm)")
    figure.supxlabel("dashed: training images, augmented, as they came; solid: images held out", fontsize=9)
    return figure


def _draw_run(above: Axes, below: Axes, run: str, frame: pd.DataFrame, colour: str) -> None:
    if absent := {"epoch", "loss"} - set(frame.columns):
        raise CorruptFileError(run, f"columns missing: {', '.join(sorted(absent))}", "train the run again")
    shown = [(axis, name) for axis, name in ((above, "loss"), (below, "pa_mpjpe_mm")) if name in frame]
    for axis, name in shown:
        axis.plot(frame["epoch"], frame[name], "--", color=colour, lw=1.2, alpha=0.8)
        held = frame[["epoch", f"val_{name}"]].dropna() if f"val_{name}" in frame else frame.iloc[:0, [0, 0]]
        axis.plot(*held.to_numpy().T, "-o", color=colour, ms=3, lw=1.6, label=run.partition("-")[2])


def residual_figure(residuals_mm: np.ndarray, groups: Sequence[str]) -> Figure:
    """Histogram of fit residuals.

    Args:
        residuals_mm: (N,) mean vertex residual of each fit.
        groups: (N,) split of each fit.
    """
    figure, (axis,) = new_figure(7, 4.2)
    bins = np.linspace(0.0, max(float(residuals_mm.max()) * 1.05, 1e-3), 30)
    names = sorted(set(groups))
    chosen = [residuals_mm[np.array(groups) == name] for name in names]
    labels = [f"{name}: median {np.median(values):.2f} mm" for name, values in zip(names, chosen, strict=True)]
    axis.hist(chosen, bins, stacked=True, label=labels)
    axis.set(xlabel="mean vertex residual (mm)", ylabel="fits")
    axis.legend()
    return figure
