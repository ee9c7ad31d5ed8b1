import numpy as np
import pytest
import torch
from handgap.core.conventions import MIDDLE_MCP, Side
from handgap.core.errors import CorruptFileError
from handgap.core.seeds import rng
from handgap.core.store import write_store
from handgap.data.augment import training_sample
from handgap.data.samples import Samples
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.render_hand import RenderHand
from handgap.train.labels import nimble_joints
from toys import toy_columns, toy_hand

N = 5


@pytest.fixture(scope="module")
def fitted(made, tmp_path_factory):
    """Shards with the parameters of render hands, and the joints that the whole layer gives them."""
    folder = tmp_path_factory.mktemp("labels")
    hand, generator = RenderHand.load(made / "models/open_nimble.npz"), rng(0, "tests/labels")
    pose = generator.normal(0, 0.2, (N, hand.n_pose)).astype(np.float32)
    shape = generator.normal(0, 1, (N, hand.n_shape)).astype(np.float32)
    trans = generator.normal((0, 0, 0.7), 0.05, (N, 3)).astype(np.float32)
    posed = hand(*map(torch.from_numpy, (pose, shape, trans)))
    side = np.array([Side.RIGHT, Side.LEFT, Side.RIGHT, Side.RIGHT, Side.LEFT], np.uint8)
    mirror = np.where(side[:, None, None] == Side.LEFT, [-1.0, 1.0, 1.0], 1.0)
    columns = toy_columns(toy_hand(folder / "hand.npz"), range(N)) | {"side": side}
    annotation = AnnotationHand.load(made / "models/open_mano.npz")
    vertices = hand.to_annotation(posed.vertices)
    columns["vertices"] = (vertices.numpy() * mirror).astype(np.float32)
    columns["joints"] = (annotation.regress_joints(vertices).numpy() * mirror).astype(np.float32)
    columns |= {"render_pose": pose, "render_shape": shape, "render_trans": trans}
    write_store(folder / "fit.h5", columns, study="t", seed=0, code="-", config="-")
    return folder / "fit.h5", posed.joints21.numpy() * mirror


def test_joints_are_those_of_the_whole_layer_mirrored_for_left_hands(made, fitted):
    path, expected = fitted
    joints = nimble_joints(Samples([path]), made / "models/open_nimble.npz")
    assert joints.dtype == np.float32
    np.testing.assert_allclose(joints, expected, atol=1e-6)


def test_they_are_other_joints_of_the_same_hand(made, fitted):
    samples = Samples([fitted[0]])
    apart = np.linalg.norm(nimble_joints(samples, made / "models/open_nimble.npz") - samples.labels("joints"), axis=-1)
    assert 0.001 < apart.mean() < 0.02 and apart.max() < 0.05


def test_training_labels_are_the_new_joints_and_the_old_mesh(made, fitted):
    samples = Samples([fitted[0]])
    before = samples[1]
    samples.relabel(nimble_joints(samples, made / "models/open_nimble.npz"))
    after = samples[1]
    np.testing.assert_allclose(after.joints, fitted[1][1], atol=1e-6)
    np.testing.assert_array_equal(after.vertices, before.vertices)
    cut = training_sample(after, 64, 1.25)
    np.testing.assert_allclose((cut["joints"] + cut["root"]) @ cut["rotation"], fitted[1][1], atol=1e-6)
    np.testing.assert_allclose(cut["root"] @ cut["rotation"], fitted[1][1][MIDDLE_MCP], atol=1e-6)
    np.testing.assert_allclose((cut["vertices"] + cut["root"]) @ cut["rotation"], before.vertices, atol=1e-6)


def test_parameters_of_another_hand_are_refused(made, fitted, tmp_path):
    columns = toy_columns(toy_hand(tmp_path / "hand.npz"), range(2))
    columns |= {f"render_{name}": np.zeros((2, 7), np.float32) for name in ("pose", "shape", "trans")}
    write_store(tmp_path / "other.h5", columns, study="t", seed=0, code="-", config="-")
    with pytest.raises(CorruptFileError, match="7"):
        nimble_joints(Samples([tmp_path / "other.h5"]), made / "models/open_nimble.npz")
