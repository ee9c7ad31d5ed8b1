from pathlib import Path

import pytest
from handgap.assets.doctor import doctor_table
from handgap.assets.table import content_sha256, read_table
from handgap.core.errors import ConfigError

TABLE = Path(__file__).parents[2] / "config" / "assets.csv"


def test_the_table_is_right_and_names_what_the_study_needs():
    assets = read_table(TABLE)
    assert {"mobilesam", "efficientnet_lite0", "skins", "hdri_bpy", "hdri_pmndrs", "mano", "nimble"} <= set(assets)
    fetched = [asset for asset in assets.values() if asset.kind != "manual"]
    assert all(len(asset.sha256) == len(asset.content_sha256) == 64 for asset in fetched)
    assert "://" not in TABLE.read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mobilesam,pip", "mobilesam,wget", "line 2: kind"),
        (",cae16a57", ",xae16a57", "line 2: sha256"),
        ("efficientnet_lite0,", "mobilesam,", "line 3: id 'mobilesam' is there twice"),
        ("id,kind", "id,sort", "columns are"),
        (",38", ",many", "line 2: size"),
        ("0.5.13", "", "needs version"),
    ],
)
def test_a_wrong_table_gives_one_clear_error(tmp_path, old, new, message):
    text = TABLE.read_text().replace(",37997618,", ",38,", 1)
    assert old in text
    wrong = tmp_path / "assets.csv"
    wrong.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read_table(wrong)


def test_a_missing_table_says_so(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_table(tmp_path / "assets.csv")


def test_content_hash_does_not_depend_on_order_and_is_the_file_s_own_when_alone():
    assert content_sha256({"a": "1", "b": "2"}) == content_sha256({"b": "2", "a": "1"})
    assert content_sha256({"a": "1", "b": "2"}) != content_sha256({"a": "2", "b": "1"})
    assert content_sha256({"a": "1"}) == "1"


def test_doctor_lists_every_asset(tmp_path):
    assets = read_table(TABLE)
    table = doctor_table(assets, tmp_path)
    assert table.row_count == len(assets)
    assert all("missing" in cell for cell in table.columns[2]._cells)
