from types import SimpleNamespace

import pytest
from handgap.core.errors import CorruptFileError
from handgap.evaluate.protocols import FREIHAND, HO3D_V2
from handgap.report.measured import how_measured


def row(protocol=FREIHAND, crop="224 px around the true joints", n=64):
    return SimpleNamespace(protocol=f"{protocol.describe()}; crop: {crop}", n=n)


def test_rows_that_are_judged_alike_share_a_sentence():
    note = how_measured({"a": row(), "b": row(), "mean hand": row(crop="none")})
    assert note == f"Protocol: {FREIHAND.describe()}; crop: 224 px around the true joints."


def test_different_crops_are_named_with_their_rows():
    note = how_measured(
        {"a": row(), "b": row(crop="a centre box of 130 px"), "c": row(), "mean hand": row(crop="none")}
    )
    assert "Crops differ" in note and "224 px around the true joints: a, c" in note and "130 px: b" in note


def test_other_alignments_tips_or_images_are_refused():
    with pytest.raises(CorruptFileError, match="row 'b': was judged by 'ho3d_v2"):
        how_measured({"a": row(), "b": row(HO3D_V2)})
    with pytest.raises(CorruptFileError, match="tested on 1980 images, and row 'a' on 3960"):
        how_measured({"a": row(n=3960), "b": row(n=1980)})
