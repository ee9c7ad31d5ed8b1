import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from dataset_hands import inside, make_hands, models, on_the_drawing
from dataset_ho3d import SIZE, write_ho3d, write_ho3d_truth
from handgap.core.config.imported import Ho3d
from handgap.core.conventions import Side
from handgap.core.errors import CorruptFileError
from handgap.data.adapters.ho3d import Ho3dAdapter
from handgap.data.adapters.index import Index
from handgap.ingest.complete import RESIDUAL
from handgap.ingest.shard import imported_columns

N, M = 4, 3


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory):
    found = models(tmp_path_factory.mktemp("models"))
    return found, make_hands(found[Side.RIGHT], N, SIZE), make_hands(found[Side.RIGHT], M, SIZE, seed=1)


@pytest.fixture
def root(tmp_path: Path, hands) -> Path:
    found, train, test = hands
    return write_ho3d(tmp_path / "HO3D", found[Side.RIGHT], train, test)


def columns(root: Path, split: str, models: dict, version: str = "v2") -> dict:
    adapter = Ho3dAdapter(Ho3d(kind="ho3d", root=str(root), version=version, splits={"train": 1}))
    path = root.parent / f"{split}.index"
    adapter.make_index(split, path)
    with Index(path) as index:
        return imported_columns(adapter, split, index, range(adapter.count(split)), models)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_opengl_and_mano_order_come_back_as_ours(tmp_path: Path, hands, version: str) -> None:
    found, train, test = hands
    root = write_ho3d(tmp_path / "HO3D", found[Side.RIGHT], train, test, version)
    got = columns(root, "train", found, version)
    assert got["valid"].all(), got["flag"]
    assert got["name"] == ["MC0/0000", "ABF11/0001", "MC0/0002", "ABF11/0003"]
    assert np.abs(got["joints"] - train.kinematic).max() < 1e-6
    # vertices are on no disk: they are the model's, posed with parameters turned out of OpenGL's frame
    for name in ("vertices", "shape", "trans"):
        assert np.abs(got[name] - getattr(train, name)).max() < 2e-6, name
    # the pose has no mean added to it: the zero of these angles is the flat hand
    assert np.abs(got["pose"] - train.pose).max() < 2e-6
    assert got[RESIDUAL].max() < 0.01
    assert on_the_drawing(got) > 0.95
    assert inside(got["joints"], got["K"], SIZE) == 1.0


def test_the_evaluation_split_has_the_wrist_and_later_labels(root: Path, hands) -> None:
    found, _, test = hands
    got = columns(root, "test", found)
    assert not got["valid"].any() and all("November 2024" in flag for flag in got["flag"])
    assert np.abs(got["wrist"] - test.kinematic[:, 0]).max() < 1e-6
    write_ho3d_truth(root, test)
    got = columns(root, "test", found)
    assert got["valid"].all()
    assert np.abs(got["joints"] - test.kinematic).max() < 1e-6
    assert np.abs(got["vertices"] - test.vertices).max() < 1e-6
    assert np.abs(got["wrist"] - test.kinematic[:, 0]).max() < 1e-6


def test_evaluation_labels_of_another_release(root: Path, hands) -> None:
    write_ho3d_truth(root, hands[2])
    path = root / "evaluation_xyz.json"
    for name in ("xyz", "verts"):
        path = root / f"evaluation_{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text())[:-1]))
    with pytest.raises(CorruptFileError, match=r"xyz\.json: has not the 3 entries that evaluation\.txt lists"):
        columns(root, "test", hands[0])


def test_a_sample_listed_twice(root: Path, hands) -> None:
    path = root / "train.txt"
    path.write_text(path.read_text() + "MC0/0002\n")
    with pytest.raises(CorruptFileError, match="'MC0/0002' is there 2 times"):
        columns(root, "train", hands[0])


def meta_of(root: Path, name: str) -> Path:
    sequence, frame = name.split("/")
    return root / "train" / sequence / "meta" / f"{frame}.pkl"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"camMat": None}, r"an array of shape \(\) where \(3, 3\) belongs"),
        ({"handJoints3D": np.zeros((20, 3))}, r"\(20, 3\) where \(21, 3\) belongs"),
        ({"handPose": np.full(48, np.nan)}, "pose: not finite"),
        ({"handJoints3D": np.full((21, 3), np.nan)}, "joints: not finite"),
        ({"handJoints3D": None}, "the frame is not annotated"),
    ],
)
def test_a_faulty_sample_keeps_its_place(root: Path, hands, change: dict, reason: str) -> None:
    path = meta_of(root, "MC0/0002")
    path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()) | change))
    got = columns(root, "train", hands[0])
    assert got["valid"][[0, 1, 3]].all()
    assert re.search(reason, got["flag"][2]), got["flag"][2]


def test_k_missing_and_a_pickle_that_is_a_program(root: Path, hands) -> None:
    path = meta_of(root, "MC0/0000")
    meta = pickle.loads(path.read_bytes())
    del meta["camMat"]
    path.write_bytes(pickle.dumps(meta))

    class Planted:
        def __reduce__(self):
            return os.system, ("true",)

    meta_of(root, "ABF11/0001").write_bytes(pickle.dumps({"camMat": Planted()}))
    got = columns(root, "train", hands[0])
    assert "no key 'camMat'" in got["flag"][0] and "asks for posix.system" in got["flag"][1]
    assert got["valid"].tolist() == [False, False, True, True]


def test_millimetres(root: Path, hands) -> None:
    for name in ("MC0/0000", "ABF11/0001", "MC0/0002"):
        path = meta_of(root, name)
        meta = pickle.loads(path.read_bytes())
        path.write_bytes(pickle.dumps(meta | {"handJoints3D": 1000 * meta["handJoints3D"]}))
    with pytest.raises(CorruptFileError, match="millimetres where metres belong"):
        columns(root, "train", hands[0])
