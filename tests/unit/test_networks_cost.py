from copy import deepcopy
from pathlib import Path

import pytest
import torch
from handgap.core.config.experiment import load_experiment
from handgap.core.config.networks import CmrNetwork, MetroNetwork, S2HandNetwork
from handgap.core.errors import ConfigError
from handgap.networks.build import build
from handgap.networks.cost import Cost, count, network_cost
from handgap.report.network_table import all_rows, build_network_table
from handgap.report.table_formats import to_csv, to_html, to_tex
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

TABLE = load_experiment(Path(__file__).parents[2] / "config/experiments/table_networks.yaml")


def macs(module, *shapes):
    inputs = [torch.zeros(shape, device="meta") for shape in shapes]
    module = module.to("meta").eval() if isinstance(module, nn.Module) else module
    return count(nn.Identity(), lambda: module(*inputs)).macs


def attention(width, tokens):
    """By hand: four projections of every token, then tokens x tokens products for the scores and for the mixing."""
    return 4 * tokens * width * width + 2 * tokens * tokens * width


def test_multiply_accumulates_by_hand():
    assert macs(nn.Linear(8, 3), (1, 5, 8)) == 5 * 8 * 3
    assert macs(nn.Conv2d(4, 6, 3, padding=1), (1, 4, 7, 7)) == 49 * 6 * 4 * 9
    assert macs(nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), (1, 4, 7, 7)) == 16 * 6 * 2 * 9
    assert macs(nn.ConvTranspose2d(4, 6, 4, stride=4), (1, 4, 7, 7)) == 49 * 4 * 6 * 16
    assert macs(torch.matmul, (195, 195), (1, 195, 32)) == 195 * 195 * 32
    heads = [(1, 4, 5, 2)] * 3
    assert macs(scaled_dot_product_attention, *heads) == 2 * 4 * 5 * 5 * 2
    layer = nn.MultiheadAttention(8, 4, batch_first=True)
    assert macs(lambda x: layer.to("meta").eval()(x, x, x, need_weights=False), (1, 5, 8)) == attention(8, 5)


def test_parameters_that_are_built_and_those_that_are_read():
    module = nn.ModuleDict({"read": nn.Linear(8, 3), "idle": nn.Linear(100, 100), "frozen": nn.Linear(8, 8)})
    module["frozen"].requires_grad_(False)
    module.to("meta")
    x = torch.zeros(1, 8, device="meta")
    assert count(module, lambda: module["read"](module["frozen"](x))) == Cost(27 + 10_100, 27, 8 * 3 + 8 * 8)


def test_a_network_costs_the_same_at_any_batch_size_and_more_on_larger_images(hand):
    settings = S2HandNetwork(backbone="test_efficientnet")
    small, large = (network_cost(build(settings, deepcopy(hand), None, size, None), size) for size in (64, 128))
    assert small[:2] == large[:2] and 3.5 < large.macs / small.macs < 4.1


@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: row.label)
def test_every_row_of_published_size_builds_and_costs_what_was_counted_from_the_release(hand, hierarchy, row):
    cost = network_cost(build(row.network, deepcopy(hand), None, TABLE.image_size, hierarchy), TABLE.image_size)
    released = row.released
    assert cost.used == cost.trained
    if released.gmacs:  # given to three or four digits
        assert cost.macs / 1e9 == pytest.approx(released.gmacs, abs=0.05)
    if released.used:
        assert cost.used / 1e6 == pytest.approx(released.used, abs=0.05)
    if released.trained:  # never less than here: layers that are built and not used
        unused = {"cmr": 2.1 * (1 if getattr(row.network, "variant", "") == "g" else 2), "simplehand": 0.0}
        assert -0.05 < released.trained - cost.trained / 1e6 < unused.get(row.network.architecture, 45) + 0.05


def test_the_table_has_the_rows_the_studys_networks_and_the_differences():
    study = {"mine": MetroNetwork(widths=(32, 16)), "other": CmrNetwork()}
    rows = all_rows(TABLE, study, "open")
    assert [row.label for row in rows[len(TABLE.rows) :]] == [
        "open: mine, efficientnet_lite0",
        "open: other, efficientnet_lite0",
    ]
    costs = [Cost(13_144_087, 13_000_000, 964_149_559)] * len(rows)
    table = build_network_table("table_networks", TABLE, rows, costs)
    first = to_csv(table).splitlines()[1].split(",")[-9:]
    assert first == ["13.144087", "13", "0.964149559", "", "13.1", "0.96", "", "-0.1", "0.004149559"]
    for text in (to_html(table), to_tex(table)):
        assert "13.14" in text and "-0.10" in text and "+0.00" in text and "-0.00" not in text
    assert "apart" not in to_html(table).split("<body>")[1] and to_tex(table).count("midrule") == 4


def test_a_row_with_settings_that_no_network_has_is_one_clear_error(tmp_path):
    path = tmp_path / "table_x.yaml"
    row = "{label: x, network: {architecture: metro, width: 4}}"
    path.write_text(f"{{title: t, source: s, kind: networks, rows: [{row}]}}")
    with pytest.raises(ConfigError, match=r"rows\.0\.network\.metro\.width"):
        load_experiment(path)
