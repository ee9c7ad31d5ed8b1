import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_dexycb import FRAMES, LEFT, RIGHT, SERIALS, SIZE, SUBJECTS, write_dexycb
from dataset_hands import inside, make_hands, models, on_the_drawing
from handgap.core.config.imported import DexYcb
from handgap.core.conventions import MaskLabel, Side
from handgap.core.errors import ConfigError, CorruptFileError, HandgapError
from handgap.core.images import decode_depth, decode_mask
from handgap.data.adapters.dexycb import DexYcbAdapter, chosen
from handgap.data.adapters.index import Index
from handgap.ingest.complete import RESIDUAL, released_left
from handgap.ingest.shard import imported_columns

PER_SEQUENCE = 8 * FRAMES


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory):
    """Models as converted, and hands of them: the left ones posed with the left model as released."""
    converted = models(tmp_path_factory.mktemp("models"))
    made = {}
    for side, model in converted.items():
        used = released_left(model) if side is Side.LEFT else model
        found = make_hands(used, PER_SEQUENCE, SIZE)
        # a subject has one shape
        shape = np.repeat(found.shape[:1], PER_SEQUENCE, 0)
        with torch.no_grad():
            posed = used(*(torch.from_numpy(values).float() for values in (found.pose, shape, found.trans)))
        joints, vertices = posed.joints.numpy().astype(float), posed.vertices.numpy().astype(float)
        made[side] = replace(found, shape=shape, kinematic=joints, vertices=vertices)
    return converted, made


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, hands) -> Path:
    return write_dexycb(tmp_path_factory.mktemp("dexycb") / "DexYCB", *hands)


def adapter_of(root: Path, setup: str = "s0", subjects: tuple[int, ...] = (0,)) -> DexYcbAdapter:
    options = DexYcb(kind="dexycb", root=str(root), setup=setup, subjects=list(subjects), splits={"train": 1})
    return DexYcbAdapter(options)


def columns(root: Path, out: Path, models: dict, count: int, first: int = 0, split: str = "val") -> dict:
    adapter = adapter_of(root)
    adapter.make_index(split, out / "a.index")
    with Index(out / "a.index") as index:
        return imported_columns(adapter, split, index, range(first, first + count), models)


def test_both_hands_come_back(release: Path, tmp_path: Path, hands) -> None:
    found, made = hands
    got = columns(release, tmp_path, found, 2 * PER_SEQUENCE)
    assert got["side"].tolist() == [Side.RIGHT] * PER_SEQUENCE + [Side.LEFT] * PER_SEQUENCE
    invalid = [PER_SEQUENCE - 1, 2 * PER_SEQUENCE - 1]
    assert np.flatnonzero(~got["valid"]).tolist() == invalid, got["flag"]
    assert all("no hand pose" in got["flag"][row] for row in invalid) and np.isnan(got["joints"][invalid]).all()
    for side, start in ((Side.RIGHT, 0), (Side.LEFT, PER_SEQUENCE)):
        rows, truth = slice(start, start + PER_SEQUENCE - 1), made[side]
        assert np.abs(got["joints"][rows] - truth.kinematic[:-1]).max() < 1e-6
        # coefficients of the 45 components, without the mean pose, and the subject's shape
        for name in ("vertices", "pose", "shape", "trans"):
            assert np.abs(got[name][rows] - getattr(truth, name)[:-1]).max() < 1e-5, (side, name)
        assert got[RESIDUAL][rows].max() < 0.02
        assert on_the_drawing(got) > 0.95
        assert inside(got["joints"][rows], got["K"][rows], SIZE) == 1.0


def test_names_order_masks_and_depth(release: Path, tmp_path: Path, hands) -> None:
    got = columns(release, tmp_path, hands[0], PER_SEQUENCE)
    sequence = f"{SUBJECTS[0]}/20200700_{RIGHT:06d}"
    assert got["name"] == [f"{sequence}/{serial}/{frame:06d}" for serial in SERIALS for frame in range(FRAMES)]
    mask = decode_mask(got["mask"][3])
    assert mask[120, 120] == MaskLabel.HAND and mask[220, 220] == MaskLabel.OBJECT
    assert mask[0, 0] == mask[300, 300] == MaskLabel.BACKGROUND
    assert decode_depth(got["depth"][3])[7, 7] == pytest.approx(0.603)


def test_a_corrected_left_model_would_not_reproduce_the_labels(release: Path, tmp_path: Path, hands) -> None:
    wrong = {Side.RIGHT: hands[0][Side.RIGHT], Side.LEFT: released_left(hands[0][Side.LEFT])}
    got = columns(release, tmp_path, wrong, PER_SEQUENCE - 1, PER_SEQUENCE)
    assert got[RESIDUAL].min() > 0.2


def test_a_missing_model_of_a_side_is_one_clear_error(release: Path, tmp_path: Path, hands) -> None:
    with pytest.raises(ConfigError, match="left hand: no model of it was given"):
        columns(release, tmp_path, {Side.RIGHT: hands[0][Side.RIGHT]}, 2 * PER_SEQUENCE)


@pytest.mark.parametrize(
    ("setup", "sizes"),
    [
        # of 10 subjects x 100 sequences x 8 cameras
        ("s0", {"train": 10 * 80 * 8, "val": 2 * 20 * 8, "test": 8 * 20 * 8}),
        ("s1", {"train": 7 * 800, "val": 800, "test": 2 * 800}),
        ("s2", {"train": 6 * 1000, "val": 1000, "test": 1000}),
        ("s3", {"train": 10 * 75 * 8, "val": 10 * 10 * 8, "test": 10 * 15 * 8}),
    ],
)
def test_official_splits(setup: str, sizes: dict[str, int]) -> None:
    every = [(subject, sequence, camera) for subject in range(10) for sequence in range(100) for camera in range(8)]
    parts = {split: {item for item in every if chosen(setup, split, *item)} for split in sizes}
    assert {split: len(part) for split, part in parts.items()} == sizes
    assert sum(sizes.values()) == len(set.union(*parts.values())) == len(every)


def test_counts_follow_subjects_and_split(release: Path) -> None:
    assert adapter_of(release).count("train") == 80 * PER_SEQUENCE
    assert adapter_of(release, subjects=(0, 1)).count("val") == 40 * PER_SEQUENCE
    assert adapter_of(release, "s2", (1,)).count("test") == 100 * FRAMES


def test_missing_subjects_sequences_and_calibration(release: Path, tmp_path: Path) -> None:
    with pytest.raises(HandgapError, match=r"no folder \*-subject-03, \*-subject-05\n.*leave them out"):
        adapter_of(release, subjects=(0, 2, 4)).count("train")
    root = tmp_path / "DexYCB"
    for name in (SUBJECTS[0], "calibration"):
        shutil.copytree(release / name, root / name)
    shutil.rmtree(next((root / SUBJECTS[0]).iterdir()))
    with pytest.raises(CorruptFileError, match="has 99 sequences, not 100"):
        adapter_of(root).count("train")
    shutil.rmtree(root / "calibration")
    with pytest.raises(HandgapError, match=r"no calibration/intrinsics/"):
        adapter_of(root).count("train")


def test_faulty_labels_keep_their_place(release: Path, tmp_path: Path, hands) -> None:
    root = shutil.copytree(release, tmp_path / "DexYCB")
    folder = root / SUBJECTS[0] / f"20200700_{LEFT:06d}" / SERIALS[0]
    path = folder / "labels_000000.npz"
    path.write_bytes(path.read_bytes()[:300])
    values = dict(np.load(folder / "labels_000001.npz"))
    values["joint_3d"] = values["joint_3d"][:, :20]
    np.savez(folder / "labels_000001.npz", **values)
    got = columns(root, tmp_path, hands[0], PER_SEQUENCE, PER_SEQUENCE)
    assert np.flatnonzero(~got["valid"]).tolist() == [0, 1, PER_SEQUENCE - 1]
    assert "not a readable file of arrays" in got["flag"][0] and "(1, 20, 3)" in got["flag"][1]
