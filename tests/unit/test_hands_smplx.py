"""The annotation hand against smplx's MANO, both from one file in MANO's own format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.conventions import MANO_TO_SIMPLE, TIP_VERTICES
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.convert.mano import convert_mano
from mano_pickle import write_mano_pickle

smplx = pytest.importorskip("smplx", reason="smplx is not installed: nothing to compare with")

OPEN_MANO = Path(__file__).parents[2] / "results" / "models" / "open_mano.npz"
pytestmark = pytest.mark.skipif(
    not OPEN_MANO.exists(), reason="needs results/models/open_mano.npz (snakemake makes it)"
)
COUNT = 32
TOLERANCE = 1e-6  # m


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """MANO_RIGHT.pkl: the name tells smplx the side."""
    path = tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl"
    with np.load(OPEN_MANO) as arrays:
        write_mano_pickle(path, dict(arrays))
    return path


@pytest.fixture(scope="module")
def hand(file):
    convert_mano(file, file.with_suffix(".npz"))
    return AnnotationHand.load(file.with_suffix(".npz"))


def _random(columns, scale, seed):
    return scale * torch.randn(COUNT, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("flat_hand_mean", [True, False])
@pytest.mark.parametrize("n_components", [6, 12, 45, None], ids=["6", "12", "45", "axis-angle"])
def test_equal_to_smplx(file, hand, n_components, flat_hand_mean):
    use_pca = n_components is not None
    fingers = _random(n_components or 45, 1.0 if use_pca else 0.6, 1)
    turn, shape, trans = _random(3, 1.5, 2), _random(10, 2.0, 3), _random(3, 0.5, 4)
    # smplx takes 45 coefficients for axis-angle
    as_angles = n_components in (45, None)
    other = smplx.MANO(
        str(file),
        use_pca=not as_angles,
        num_pca_comps=n_components or 45,
        flat_hand_mean=flat_hand_mean,
        batch_size=COUNT,
    )
    given = fingers @ hand.hands_components if n_components == 45 else fingers
    with torch.no_grad():
        theirs = other(betas=shape, global_orient=turn, hand_pose=given, transl=trans)
        pose = hand.full_pose(turn, fingers, use_pca=use_pca, flat_hand_mean=flat_hand_mean)
        ours = hand(pose, shape, trans, tips="smplx")
    assert pose[:, 3:].unflatten(1, (15, 3)).norm(dim=2).max() > 1.0
    assert (ours.vertices - theirs.vertices).abs().max() <= TOLERANCE
    tips = theirs.vertices[:, list(TIP_VERTICES["smplx"])]
    joints = torch.cat([theirs.joints, tips], 1)[:, MANO_TO_SIMPLE]
    assert (ours.joints - joints).abs().max() <= TOLERANCE


def test_gradients_are_those_of_smplx(file, hand):
    other = smplx.MANO(str(file), use_pca=False, flat_hand_mean=True, batch_size=COUNT)
    parameters = [_random(48, 0.6, 1), _random(10, 2.0, 3), _random(3, 0.5, 4)]
    upstream = torch.randn(COUNT, 778, 3, generator=torch.Generator().manual_seed(5))
    found = []
    for layer in (
        lambda pose, shape, trans: hand(pose, shape, trans),
        lambda pose, shape, trans: other(betas=shape, global_orient=pose[:, :3], hand_pose=pose[:, 3:], transl=trans),
    ):
        inputs = [x.clone().requires_grad_() for x in parameters]
        found.append(torch.autograd.grad(layer(*inputs).vertices, inputs, upstream))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_regressed_joints_differ_from_the_kinematic_ones_by_millimetres(hand):
    """FreiHAND regresses its joints from the posed mesh; smplx returns the kinematic ones."""
    pose = hand.full_pose(_random(3, 1.0, 2), _random(45, 0.5, 1), use_pca=True, flat_hand_mean=False)
    with torch.no_grad():
        out = hand(pose, _random(10, 1.0, 3), _random(3, 0.5, 4))
        regressed = hand.regress_joints(out.vertices)
    expected = hand.J_regressor.double() @ out.vertices.double()
    np.testing.assert_allclose(regressed[:, 0], expected[:, 0], atol=1e-6)
    apart = 1000 * (regressed - out.joints).norm(dim=-1).mean(0)
    assert 1.0 < apart.max() < 30.0
    assert apart[[4, 8, 12, 16, 20]].max() < 1e-3
