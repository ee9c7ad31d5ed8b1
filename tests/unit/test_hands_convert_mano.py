"""MANO's file format in, the annotation hand's out: both hands, and everything that a file can have wrong."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.cli import app
from handgap.core.conventions import MANO_PARENTS, TIP_VERTICES
from handgap.core.errors import CorruptFileError
from handgap.core.files import read_arrays
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.convert.mano import convert_mano, growth_agreement, side_of
from mano_pickle import write_mano_pickle
from scipy import sparse
from test_core_pickles import Planted
from typer.testing import CliRunner

MODEL = Path(__file__).parents[2] / "results/models/open_mano.npz"
MIRROR = np.array([-1.0, 1.0, 1.0])
# a turn seen in a mirror across x keeps its part about x and loses the sign of the rest
TURN = np.array([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A right hand as MANO's own file, chumpy and all."""
    if not MODEL.exists():
        pytest.skip("results/models/open_mano.npz is not there: `make smoke` makes it")
    path = tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl"
    write_mano_pickle(path, read_arrays(MODEL), chumpy=True)
    return path


@pytest.fixture
def model(stored, tmp_path) -> dict[str, object]:
    """The same with plain arrays, to be changed and pickled again."""
    return write_mano_pickle(tmp_path / "plain.pkl", read_arrays(MODEL), chumpy=False)


@pytest.fixture
def convert(tmp_path):
    """Pickle a changed model under a name, convert it, and give the arrays."""

    def run(model: dict[str, object], name: str = "MANO.pkl") -> dict[str, np.ndarray]:
        (tmp_path / name).write_bytes(pickle.dumps(model, 2))
        convert_mano(tmp_path / name, tmp_path / "out.npz")
        return read_arrays(tmp_path / "out.npz")

    return run


def mirrored(model: dict[str, object]) -> dict[str, object]:
    """The left hand that is the right one's mirror image."""
    features = (TURN[:, None] * TURN).ravel()  # of R - I: entry (i, j) changes sign with either axis
    return model | {
        "v_template": model["v_template"] * MIRROR,
        "J": model["J"] * MIRROR,
        "f": model["f"][:, ::-1],
        "shapedirs": model["shapedirs"] * MIRROR[:, None],
        "posedirs": model["posedirs"] * MIRROR[:, None] * np.tile(features, 15),
        "hands_mean": model["hands_mean"] * np.tile(TURN, 15),
        "hands_components": model["hands_components"] * np.tile(TURN, 15),
    }


def test_values_are_the_pickles(stored, model, tmp_path):
    convert_mano(stored, tmp_path / "out.npz")
    found = read_arrays(tmp_path / "out.npz")
    for key in ("v_template", "shapedirs", "posedirs", "weights", "hands_mean", "hands_components"):
        np.testing.assert_array_equal(found[key], np.float32(model[key]))
    np.testing.assert_array_equal(found["J_regressor"], np.float32(model["J_regressor"].toarray()))
    np.testing.assert_allclose(found["pose_std"], model["hands_coeffs"].std(0), rtol=1e-6)
    np.testing.assert_array_equal(found["faces"], model["f"])
    np.testing.assert_array_equal(found["parents"], MANO_PARENTS)
    assert tuple(found["tip_vertices"]) == TIP_VERTICES["freihand"]
    assert found["side"] == "right" and found["topology"] == "mano"
    assert "do not redistribute" in str(found["licence"])
    assert "MANO_RIGHT.pkl sha256 " in str(found["source"]) and ";" not in str(found["source"])


def test_same_input_same_bytes_and_same_arrays_without_chumpy(stored, model, convert, tmp_path):
    for name in ("one.npz", "two.npz"):
        convert_mano(stored, tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    plain, found = convert(model), read_arrays(tmp_path / "one.npz")
    assert plain.keys() == found.keys()
    assert all(np.array_equal(found[key], plain[key]) for key in found if key != "source")


def test_dense_regressor_more_directions_and_a_signed_root_do_as_well(model, convert):
    expected = convert(model)
    table = model["kintree_table"].astype(np.int64)
    table[0, 0] = -1
    more = np.concatenate([model["shapedirs"], np.ones((778, 3, 35))], 2)
    changed = {"J_regressor": model["J_regressor"].toarray(), "kintree_table": table, "shapedirs": more}
    found = convert(model | changed)
    assert all(np.array_equal(found[key], expected[key]) for key in found if key != "source")


@pytest.mark.parametrize("defect", [False, True], ids=["repaired", "as released"])
@pytest.mark.parametrize("name", ["MANO_LEFT.pkl", "MANO_RIGHT.pkl"])
def test_a_left_hand_moves_as_the_rights_mirror_image(stored, model, convert, tmp_path, defect, name):
    left = mirrored(model)
    if defect:
        left["shapedirs"] = left["shapedirs"] * MIRROR[:, None]
    arrays = convert(left, name)
    assert arrays["side"] == "left"
    assert ("shapedirs negated" in str(arrays["source"])) == defect
    assert "faces" not in str(arrays["source"])
    convert_mano(stored, tmp_path / "right.npz")
    hands = AnnotationHand(arrays), AnnotationHand.load(tmp_path / "right.npz")
    generator = torch.Generator().manual_seed(0)
    coefficients, shape = torch.randn(4, 45, generator=generator), torch.randn(4, 10, generator=generator)
    root = torch.randn(4, 3, generator=generator)
    turn, mirror = torch.tensor(TURN).float(), torch.tensor(MIRROR).float()
    out = [
        hand(torch.cat([rotation, hand.pose_from_components(coefficients)], 1), shape, torch.zeros(4, 3))
        for hand, rotation in zip(hands, (root * turn, root), strict=True)
    ]
    torch.testing.assert_close(out[0].vertices, out[1].vertices * mirror, atol=1e-6, rtol=0)
    torch.testing.assert_close(out[0].joints, out[1].joints * mirror, atol=1e-6, rtol=0)


def test_faces_that_look_inwards_are_turned(model, convert):
    expected = convert(model)["faces"]
    found = convert(model | {"f": model["f"][:, ::-1]})
    assert "faces turned outwards" in str(found["source"])
    same_cycle = [np.roll(expected, k, axis=1) for k in range(3)]
    assert np.any([(found["faces"] == faces).all(1) for faces in same_cycle], axis=0).all()
    # mirrored with the right hand's faces kept, they must end up as those of the mirrored mesh
    kept = convert(mirrored(model) | {"f": model["f"]})
    assert "faces turned outwards" in str(kept["source"]) and kept["side"] == "left"


def test_side_and_defect_are_seen_in_any_frame(model):
    joints, vertices, shapedirs = (np.asarray(model[key]) for key in ("J", "v_template", "shapedirs"))
    generator = np.random.default_rng(0)
    for _ in range(20):
        frame = np.linalg.qr(generator.normal(size=(3, 3)))[0]
        assert side_of(joints @ frame + 1.0) == ("right" if np.linalg.det(frame) > 0 else "left")
    for axes in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        turned, directions = vertices[:, axes], shapedirs[:, axes]
        assert growth_agreement(turned, directions) > 0.5
        assert growth_agreement(turned, directions * MIRROR[:, None]) < -0.5
    assert side_of(joints * [1, 1, 0]) is None


def without(key: str):
    return lambda model: {name: value for name, value in model.items() if name != key}


def changed(key: str, change):
    return lambda model: model | {key: change(model[key])}


def swapped_parents(table: np.ndarray) -> np.ndarray:
    return np.where(table == 13, 4, table)


def one_face_turned(faces: np.ndarray) -> np.ndarray:
    return np.concatenate([faces[:1, ::-1], faces[1:]])


WRONG = {
    "no shapedirs": (without("shapedirs"), "shapedirs: expected a value, found only the keys J, "),
    "no coefficients": (without("hands_coeffs"), "hands_coeffs: expected a value"),
    "few vertices": (
        changed("v_template", lambda v: v[:-1]),
        "v_template: expected numbers of shape (778, 3), found float64 of shape (777, 3)",
    ),
    "few directions": (
        changed("shapedirs", lambda v: v[..., :9]),
        "(778, 3, >=10), found float64 of shape (778, 3, 9)",
    ),
    "flat correctives": (changed("posedirs", lambda v: v.reshape(-1, 135)), "posedirs: expected numbers of shape"),
    "transposed regressor": (changed("J_regressor", sparse.csc_matrix.transpose), "J_regressor: expected numbers of"),
    "more joints": (changed("weights", lambda v: np.pad(v, ((0, 0), (0, 1)))), "weights: expected numbers of shape"),
    "words": (changed("weights", lambda v: v.astype(str)), "weights: expected numbers of shape (778, 16), found <U"),
    "weights of parts": (changed("weights", lambda v: v * 0.9), "weights: expected rows that sum to 1"),
    "nan": (changed("hands_mean", lambda v: v * np.nan), "hands_mean: expected finite numbers"),
    "another tree": (changed("kintree_table", swapped_parents), "kintree_table: expected parents [-1, 0, 1, 2, 0, 4"),
    "a face too far": (changed("f", lambda f: f + 1), "f: expected ids in [0, 778), found 1 to 778"),
    "faces unalike": (changed("f", one_face_turned), "f: expected faces wound alike"),
    "millimetres": (changed("v_template", lambda v: v * 1000), "found one of ", "millimetres"),
    "a body": (changed("v_template", lambda v: v * 8), "not a hand in metres"),
    "a flat hand": (changed("v_template", lambda v: v * [1, 1, 1e-3]), "v_template: expected a thumb"),
    "no dictionary": (lambda model: list(model), "value: expected a dictionary, found list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_key(model, convert, tmp_path, case):
    change, *messages = WRONG[case]
    with pytest.raises(CorruptFileError) as refused:
        convert(change(model))
    assert all(message in str(refused.value) for message in messages), refused.value
    assert str(tmp_path / "MANO.pkl") in str(refused.value) and "cure: " in str(refused.value)
    assert not (tmp_path / "out.npz").exists()


def test_the_verb_converts_and_says_what_it_wrote(stored, tmp_path):
    out = tmp_path / "models/mano.npz"
    result = CliRunner().invoke(app, ["convert", "mano", str(stored), str(out)])
    assert result.exit_code == 0, result.output
    length = np.ptp(np.load(out)["v_template"], axis=0).max()
    assert f"{out}: right hand of {length:.3f} m, 778 vertices, 1538 faces, 16 joints" in result.output
    assert len(result.output.splitlines()) == 2 and AnnotationHand.load(out).faces.shape == (1538, 3)


def planted_nimble(folder: Path, marker: Path) -> Path:
    for name in ("DICT_9137", "TEX_DICT", "TEX_FUV", "MANO_VREG"):
        (folder / f"NIMBLE_{name}.pkl").write_bytes(pickle.dumps(Planted(eval, f"open({str(marker)!r}, 'w')"), 4))
    return folder


@pytest.mark.parametrize("verb", ["mano", "nimble"])
def test_the_verbs_end_in_one_error_and_run_nothing(tmp_path, verb):
    def run(source: Path) -> str:
        command = [sys.executable, "-m", "handgap.cli", "convert", verb, source, tmp_path / "out.npz"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
        error, cure = done.stderr.splitlines()
        assert error.startswith("handgap: error: ") and cure.startswith("  cure: ")
        return error

    assert "no such file" in run(tmp_path / "absent")
    folder = planted_nimble(tmp_path, tmp_path / "ran")
    planted = folder / "NIMBLE_DICT_9137.pkl" if verb == "mano" else folder
    assert "asks for builtins.eval, which" in run(planted)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out.npz").exists()
