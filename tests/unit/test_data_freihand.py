import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_freihand import SIZE, freihand_labels, write_freihand
from dataset_hands import inside, make_hands, models, on_the_drawing
from handgap.core.config.imported import FreiHand
from handgap.core.conventions import MaskLabel, Side
from handgap.core.errors import CorruptFileError, HandgapError
from handgap.core.images import decode_mask, decode_rgb
from handgap.data.adapters.freihand import FreiHandAdapter, root_of
from handgap.data.adapters.index import Index
from handgap.ingest.complete import RESIDUAL
from handgap.ingest.shard import imported_columns

N, M = 3, 2


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory):
    found = models(tmp_path_factory.mktemp("models"))
    return found, make_hands(found[Side.RIGHT], N), make_hands(found[Side.RIGHT], M, seed=1)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, hands) -> Path:
    found, train, test = hands
    return write_freihand(tmp_path_factory.mktemp("freihand") / "FreiHAND", found[Side.RIGHT], train, test)


@pytest.fixture
def root(tmp_path: Path, release: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(release, tmp_path / "FreiHAND")


def columns(root: Path, split: str, models: dict, first: int = 0, count: int | None = None, **options) -> dict:
    adapter = FreiHandAdapter(FreiHand(kind="freihand", root=str(root), **options))
    path = root.parent / f"{split}.index"
    adapter.make_index(split, path)
    with Index(path) as index:
        return imported_columns(
            adapter, split, index, range(first, first + (count or adapter.count(split) - first)), models
        )


def test_training_labels_come_back_for_every_colour_version(release: Path, hands) -> None:
    found, train, _ = hands
    got = columns(release, "train", found)
    assert got["id"].tolist() == list(range(4 * N)) and got["name"][5] == "00000005"
    assert got["valid"].all() and (got["side"] == Side.RIGHT).all()
    for name in ("joints", "vertices", "pose", "shape"):
        assert np.abs(got[name] - np.tile(getattr(train, name), (4, *[1] * (got[name].ndim - 1)))).max() < 2e-6
    # the root is a pixel and a scale of 32-bit floats
    assert np.abs(got["trans"] - np.tile(train.trans, (4, 1))).max() < 1e-5
    assert got[RESIDUAL].max() < 0.01
    assert on_the_drawing(got) > 0.95
    assert inside(got["joints"], got["K"], SIZE) == 1.0


def test_pictures_are_the_files_bytes_and_masks_are_shared_by_the_versions(release: Path, hands) -> None:
    got = columns(release, "train", hands[0])
    assert got["image"][7].tobytes() == (release / "training/rgb/00000007.jpg").read_bytes()
    assert decode_rgb(got["image"][7]).shape == (224, 224, 3)
    masks = [decode_mask(mask) for mask in got["mask"]]
    assert set(np.unique(masks[0])) == {MaskLabel.BACKGROUND, MaskLabel.HAND}
    assert (masks[0] == masks[N]).all() and (masks[0] != masks[1]).any()


def test_shards_are_pieces_of_the_split(release: Path, hands) -> None:
    whole, piece = columns(release, "train", hands[0]), columns(release, "train", hands[0], 4, 3)
    assert piece["id"].tolist() == [4, 5, 6]
    assert (piece["joints"] == whole["joints"][4:7]).all() and "mask" in piece


def test_one_colour_version(release: Path, hands) -> None:
    got = columns(release, "train", hands[0], colour_versions=1)
    assert len(got["id"]) == N
    with pytest.raises(CorruptFileError, match=f"has {N} rows, and {N + 1} were asked for"):
        columns(release, "train", hands[0], 0, N + 1, colour_versions=1)


def test_evaluation_labels_are_optional(root: Path, hands) -> None:
    got = columns(root, "test", hands[0])
    assert got["valid"].all() and "mask" not in got
    assert np.abs(got["joints"] - hands[2].joints).max() < 1e-6
    for name in ("xyz", "verts", "mano"):
        (root / f"evaluation_{name}.json").unlink()
    got = columns(root, "test", hands[0])
    assert not got["valid"].any() and np.isnan(got["joints"]).all() and np.isfinite(got["K"]).all()
    assert "FreiHAND_pub_v2_eval.zip is not there" in got["flag"][0]


def test_without_a_hand_model_the_files_labels_remain(release: Path, hands) -> None:
    got = columns(release, "train", {})
    assert got["valid"].all() and np.isnan(got["pose"]).all() and np.isnan(got["trans"]).all()
    assert np.abs(got["vertices"][:N] - hands[1].vertices).max() < 1e-6


def test_root_by_hand() -> None:
    K = np.array([[480.0, 0, 112], [0, 500, 100], [0, 0, 1]])
    mano = np.zeros(61)
    mano[58:] = 132, 80, 700  # 20 px right and 20 px up of the axis, 700 px per metre
    assert root_of(mano, K) == pytest.approx([20 / 700, -20 / 700, 490 / 700])


def test_a_wrong_folder_says_what_was_expected_found_and_how_to_get_it(tmp_path: Path, release: Path) -> None:
    def problem(folder: Path) -> str:
        with pytest.raises(HandgapError) as error:
            FreiHandAdapter(FreiHand(kind="freihand", root=str(folder))).count("train")
        return str(error.value)

    assert "no such folder" in problem(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/cats.txt").touch()
    text = problem(tmp_path / "other")
    assert "training/rgb/" in text and "training_K.json" in text and "found cats.txt" in text
    assert "unpack FreiHAND_pub_v2.zip" in text and "University of Freiburg" in text
    assert f"give {release}, which has them" in problem(release.parent)
    with pytest.raises(HandgapError, match=r"no such split\n.*train, test"):
        FreiHandAdapter(FreiHand(kind="freihand", root=str(release))).count("val")


def damage(root: Path, name: str, change) -> None:
    path = root / f"training_{name}.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_truncated_json(root: Path, hands) -> None:
    path = root / "training_verts.json"
    path.write_text(path.read_text()[:50_000])
    with pytest.raises(CorruptFileError, match=r"training_verts\.json: not readable JSON .*\n.*FreiHAND_pub_v2\.zip"):
        columns(root, "train", hands[0])
    assert not (root.parent / "train.index").exists()


def test_wrong_joint_count(root: Path, hands) -> None:
    damage(root, "xyz", lambda values: values[1].pop())
    with pytest.raises(CorruptFileError, match=r"xyz\.json: entry 1 has shape \(20, 3\), expected \(21, 3\)"):
        columns(root, "train", hands[0])


def test_a_shorter_file(root: Path, hands) -> None:
    damage(root, "mano", lambda values: values.pop())
    with pytest.raises(CorruptFileError, match=r"mano\.json: has 2 entries, fewer than the files beside it"):
        columns(root, "train", hands[0])


def test_nan_and_missing_k_flag_their_rows_only(root: Path, hands) -> None:
    def nan(values: list) -> None:
        values[1][5][0] = float("nan")

    damage(root, "xyz", nan)
    got = columns(root, "train", hands[0])
    assert got["valid"].tolist() == [True, False, True] * 4 and got["flag"][4] == "joints: not finite"

    def no_k(values: list) -> None:
        values[2] = [[0, 0, 0]] * 3

    damage(root, "K", no_k)
    with pytest.raises(CorruptFileError, match="8 of 12 samples from id 0 on are faulty"):
        columns(root, "train", hands[0])


def test_k_json_missing(root: Path, hands) -> None:
    (root / "training_K.json").unlink()
    with pytest.raises(HandgapError, match=r"no training_K\.json"):
        columns(root, "train", hands[0])


@pytest.mark.parametrize(("factor", "unit"), [(1000, "millimetres"), (100, "centimetres")])
def test_other_units_are_caught_by_bone_length(root: Path, hands, factor: int, unit: str) -> None:
    for name in ("xyz", "verts"):
        damage(root, name, lambda values: values.__setitem__(slice(None), (np.array(values) * factor).tolist()))
    with pytest.raises(CorruptFileError, match=f"{unit} where metres belong"):
        columns(root, "train", {})


def test_mirrored_hands_are_caught(root: Path, hands) -> None:
    for name in ("xyz", "verts"):
        damage(root, name, lambda values: values.__setitem__(slice(None), (np.array(values) * [-1, 1, 1]).tolist()))
    with pytest.raises(CorruptFileError, match="mirrored, or the other hand"):
        columns(root, "train", hands[0])


def test_one_picture_missing_of_many_and_one_cut_off(root: Path, hands) -> None:
    (root / "training/rgb/00000002.jpg").unlink()
    cut = root / "training/rgb/00000004.jpg"
    cut.write_bytes(cut.read_bytes()[:2000])
    got = columns(root, "train", hands[0])
    assert np.flatnonzero(~got["valid"]).tolist() == [2, 4]
    assert (
        got["flag"][2] == "training/rgb/00000002.jpg: no such picture" and "cut off after 2000 bytes" in got["flag"][4]
    )
    assert decode_rgb(got["image"][2]).shape == (224, 224, 3)  # a grey one stands in
    assert np.isfinite(got["joints"][2]).all()


def test_label_lists_are_those_of_the_release(hands) -> None:
    labels = freihand_labels(hands[0][Side.RIGHT], hands[1])
    shapes = {name: np.array(values).shape for name, values in labels.items()}
    assert shapes == {"K": (N, 3, 3), "xyz": (N, 21, 3), "verts": (N, 778, 3), "mano": (N, 1, 61), "scale": (N,)}
