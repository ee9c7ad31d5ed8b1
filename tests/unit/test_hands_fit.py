"""Fitting each hand model to meshes of the other, of poses and shapes it has not seen."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.config.fit import Fit
from handgap.core.errors import CorruptFileError, HandgapError, MissingAssetError
from handgap.core.geometry import random_rotation
from handgap.core.provenance import file_sha256
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.fit.cli import fit_hand
from handgap.hands.fit.fitter import Fitter
from handgap.hands.fit.points import SkinnedPoints
from handgap.hands.fit.step import app
from handgap.hands.render_hand import RenderHand
from scipy.optimize import least_squares
from typer import Typer
from typer.testing import CliRunner

from benchmarks.fit import held_out, on_render_hand

MODELS = Path(__file__).parents[2] / "results" / "models"
NIMBLE, MANO = MODELS / "open_nimble.npz", MODELS / "open_mano.npz"
pytestmark = pytest.mark.skipif(not (NIMBLE.exists() and MANO.exists()), reason="the open hands are not forged yet")
COUNT = 100
LEFT = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def meshes():
    return held_out(COUNT)


@pytest.fixture(scope="module")
def to_render():
    return Fitter.to_render(NIMBLE, MANO, Fit())


@pytest.fixture(scope="module")
def to_annotation():
    return Fitter.to_annotation(MANO, Fit())


@pytest.fixture(scope="module")
def nimble_like(tmp_path_factory):
    """The open hand with what only NIMBLE's file has: 30 pose components, correctives, averaged maps, 25 joints."""
    with np.load(NIMBLE) as file:
        arrays = {name: file[name] for name in file.files}
    g = rng(0, "tests/fit/nimble")
    arrays["pose_components"], arrays["pose_std"] = arrays["pose_components"][:30], arrays["pose_std"][:30]
    arrays["posedirs"] = g.normal(0, 1e-4, (*arrays["v_template"].shape, 171)).astype(np.float32)
    # each point also a little of every corner of two triangles beside it
    beside = arrays["faces_stump"][g.integers(len(arrays["faces_stump"]), size=(778, 2))].reshape(778, 6)
    arrays["mano_vertices"] = np.concatenate([arrays["mano_vertices"], beside], 1)
    shares = np.concatenate([0.94 * arrays["mano_weights"], np.full((778, 6), 0.01, np.float32)], 1)
    arrays["mano_weights"] = shares.astype(np.float32)
    weights = arrays["weights"][:, :25].copy()
    weights[:, 0] += arrays["weights"][:, 25:].sum(1)
    arrays["weights"], arrays["parents"] = weights, arrays["parents"][:25]
    path = tmp_path_factory.mktemp("models") / "nimble.npz"
    np.savez(path, **arrays)
    return path


def placed(hand, pose, shape, trans):
    """Annotation vertices of parameters, by the layers themselves."""
    with torch.no_grad():
        vertices = hand(*(torch.as_tensor(part) for part in (pose, shape, trans))).vertices
        return hand.to_annotation(vertices) if isinstance(hand, RenderHand) else vertices


@pytest.mark.parametrize("count", [COUNT, pytest.param(1000, marks=pytest.mark.slow)])
def test_held_out_meshes_are_met(to_render, count):
    meshes = held_out(count)
    result = to_render.fit(meshes)
    assert result.valid.all(), result.reason
    assert result.residual_mm.mean() <= 1.5
    assert np.percentile(result.residual_mm, 95) <= 3.0
    again = placed(RenderHand.load(NIMBLE), result.pose, result.shape, result.trans).numpy()
    measured = np.linalg.norm(again - meshes, axis=-1).mean(1) * 1e3
    np.testing.assert_allclose(measured, result.residual_mm, atol=0.01)


def test_render_hands_are_met_by_the_annotation_hand(to_annotation):
    targets = on_render_hand(32)
    result = to_annotation.fit(targets)
    assert result.valid.all(), result.reason
    assert result.residual_mm.mean() <= 1.5
    again = placed(AnnotationHand.load(MANO), result.pose, result.shape, result.trans).numpy()
    np.testing.assert_allclose(np.linalg.norm(again - targets, axis=-1).mean(1) * 1e3, result.residual_mm, atol=0.01)


def test_a_hand_is_found_again_in_its_own_mesh(meshes):
    result = Fitter.to_annotation(MANO, Fit(pose_weight=0, shape_weight=0, iterations=10)).fit(meshes[:8])
    assert result.residual_mm.max() < 0.01


@pytest.mark.parametrize("which", ["render", "nimble", "annotation"])
def test_jacobian_is_the_slope_of_the_layer(which, nimble_like):
    everything, g = torch.arange(0, 778, 7), torch.Generator().manual_seed(0)
    if which == "annotation":
        hand = AnnotationHand.load(MANO).double()
        points = SkinnedPoints.of_annotation(hand, everything)
    else:
        hand = RenderHand.load(NIMBLE if which == "render" else nimble_like).double()
        points = SkinnedPoints.of_render(hand, everything)
    points = points.double()
    at = 0.5 * torch.randn(2, points.n_parameters, generator=g, dtype=torch.float64)
    at[1, 3:6] = 0.0

    def layer(parameters):
        return placed(hand, *points.split(parameters))[:, everything].mT

    found, jacobian = points.with_jacobian(at)
    # the layer moves the hand before it maps it, with shares that add to one in single precision
    torch.testing.assert_close(found, layer(at), atol=1e-8, rtol=0)
    torch.testing.assert_close(points(at), found, atol=1e-12, rtol=0)
    step = 1e-6
    moves = step * torch.eye(points.n_parameters, dtype=torch.float64)
    slope = torch.stack([(layer(row + moves) - layer(row - moves)).flatten(1) / (2 * step) for row in at])
    torch.testing.assert_close(jacobian, slope, atol=1e-8, rtol=0)


def test_solver_ends_where_a_slow_reference_does(meshes):
    settings = Fit(coarse_iterations=0, iterations=30)
    found = Fitter.to_annotation(MANO, settings).fit(meshes[2:3])
    hand = AnnotationHand.load(MANO).double()
    mean, components = hand.hands_mean.numpy(), hand.hands_components.numpy()
    std = np.maximum(hand.pose_std.numpy(), 0.03)

    def residuals(x):
        vertices = placed(hand, x[None, :48], x[None, 48:58], x[None, 58:]).numpy()
        distance = (vertices - meshes[2]).ravel() * 1e3 / 778**0.5
        pose = settings.pose_weight**0.5 * components @ (x[3:48] - mean) / std
        return np.concatenate([distance, pose, settings.shape_weight**0.5 * x[48:58]])

    start = np.concatenate([found.pose[0], found.shape[0], found.trans[0]]).astype(np.float64)
    best = least_squares(residuals, start, max_nfev=20).cost
    assert 0.5 * (residuals(start) ** 2).sum() <= best * 1.01


def test_pose_components_need_not_be_orthonormal(meshes, nimble_like, tmp_path):
    with np.load(nimble_like) as file:
        arrays = {name: file[name] for name in file.files}
    mix = np.linalg.qr(rng(0, "tests/fit/mix").normal(size=(30, 30)))[0]
    # other rows of the same covariance
    arrays["pose_components"] = mix @ (arrays["pose_std"][:, None] * arrays["pose_components"])
    arrays["pose_std"] = np.ones(30)
    np.savez(tmp_path / "mixed.npz", **arrays)
    paths, settings = (nimble_like, tmp_path / "mixed.npz"), Fit(pose_weight=0.1)
    expected, found = (Fitter.to_render(path, MANO, settings).fit(meshes[:4]) for path in paths)
    np.testing.assert_allclose(found.residual_mm, expected.residual_mm, atol=1e-3)
    np.testing.assert_allclose(found.pose[:, 3:], expected.pose[:, 3:], atol=2e-3)


@pytest.fixture(scope="module")
def fitters(nimble_like):
    """Makers of a fitter on a device, by what it fits."""
    return {
        "render": lambda device: Fitter.to_render(NIMBLE, MANO, Fit(), device),
        "nimble": lambda device: Fitter.to_render(nimble_like, MANO, Fit(), device),
        "annotation": lambda device: Fitter.to_annotation(MANO, Fit(), device),
    }


@pytest.mark.parametrize("which", ["render", "nimble", "annotation"])
def test_nothing_is_made_on_the_default_device(meshes, fitters, which):
    """A tensor made without naming its device would be on the meta device here, and not mix with the others."""
    fitter = fitters[which]("cpu")
    expected = fitter.fit(meshes[:8])
    with torch.device("meta"):
        found = fitter.fit(meshes[:8])
    np.testing.assert_array_equal(found.pose, expected.pose)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
@pytest.mark.parametrize("which", ["render", "nimble", "annotation"])
def test_a_gpu_fits_as_well(meshes, fitters, which):
    expected, found = (fitters[which](device).fit(meshes[:20]) for device in ("cpu", "cuda"))
    assert found.reason == expected.reason
    np.testing.assert_allclose(found.residual_mm, expected.residual_mm, atol=0.01)
    np.testing.assert_allclose(found.trans, expected.trans, atol=1e-3)


def test_no_meshes_no_fits(to_render):
    result = to_render.fit(np.zeros((0, 778, 3)))
    assert (result.pose.shape, result.shape.shape, result.trans.shape) == ((0, 60), (0, 20), (0, 3))
    assert result.residual_mm.shape == result.valid.shape == (0,) and result.reason == []


def test_fit_follows_a_rigid_motion(meshes, to_render):
    g = rng(0, "tests/fit/motion")
    turn, move = random_rotation(g), np.array([0.1, -0.2, 0.4])
    first, second = to_render.fit(meshes[:4]), to_render.fit(meshes[:4] @ turn.T + move)
    np.testing.assert_allclose(second.pose[:, 3:], first.pose[:, 3:], atol=2e-2)
    np.testing.assert_allclose(second.residual_mm, first.residual_mm, atol=0.02)


def test_a_mesh_gets_the_same_bytes_in_any_company(meshes, tmp_path):
    np.save(tmp_path / "meshes.npy", meshes[:11])
    code = f"""
import numpy as np
from handgap.core.seeds import round_alike
round_alike()
from handgap.core.config.fit import Fit
from handgap.hands.fit.fitter import Fitter
meshes = np.load({str(tmp_path / "meshes.npy")!r})
whole = Fitter.to_render({str(NIMBLE)!r}, {str(MANO)!r}, Fit()).fit(meshes)
small = Fitter.to_render({str(NIMBLE)!r}, {str(MANO)!r}, Fit(batch=3))
for start, stop in ((0, 11), (0, 1), (1, 6), (6, 11)):
    part = small.fit(meshes[start:stop])
    for name in ("pose", "shape", "trans", "residual_mm"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[start:stop]), (name, start, stop)
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_noise_is_not_followed(meshes, to_render):
    noisy = meshes[:10] + rng(0, "tests/fit/noise").normal(0, 1e-3, meshes[:10].shape)
    clean, result = to_render.fit(meshes[:10]), to_render.fit(noisy)
    assert result.valid.all()
    assert np.median(np.abs(result.pose[:, 3:] - clean.pose[:, 3:])) < np.radians(1.5)


def test_bad_meshes_are_named_and_leave_their_neighbours_alone(meshes, to_render):
    spoilt = {
        "not a finite number": meshes[0] * np.where(np.arange(778) == 300, np.nan, 1.0)[:, None],
        "millimetres": meshes[1] * 1e3,
        "wrong scale": meshes[2] * 10,
        "mirrored": meshes[3] * LEFT,
        "no thickness": np.zeros((778, 3)),
        "no thickness ": meshes[4] * [1.0, 1.0, 0.0],
        "residual above 5 mm": meshes[5] + rng(0, "tests/fit/spoilt").normal(0, 8e-3, (778, 3)),
    }
    mixed = [meshes[6], *spoilt.values(), meshes[7]]
    result = to_render.fit(np.stack(mixed))
    for told, reason in zip(spoilt, result.reason[1:-1], strict=True):
        assert told.strip() in reason
    assert not result.valid[1:-1].any() and result.valid[[0, -1]].all()
    assert np.isnan(result.pose[1:7]).all() and np.isnan(result.residual_mm[1:7]).all()
    alone = to_render.fit(np.stack([meshes[6], *[meshes[8]] * len(spoilt), meshes[7]]))
    for name in ("pose", "shape", "trans", "residual_mm"):
        np.testing.assert_array_equal(getattr(result, name)[[0, -1]], getattr(alone, name)[[0, -1]])


def test_left_hands_are_seen_in_every_pose(meshes, to_render, to_annotation):
    for fitter in (to_render, to_annotation):
        assert all("mirrored" in reason for reason in fitter.fit(meshes[:40] * LEFT).reason)


def test_a_left_model_is_used_as_its_mirror_image(meshes, to_render, to_annotation, monkeypatch):
    left = AnnotationHand.load(MANO).mirrored()
    monkeypatch.setattr(AnnotationHand, "load", lambda path: left)
    by_left = (Fitter.to_render(NIMBLE, MANO, Fit()), Fitter.to_annotation(MANO, Fit()))
    for right, mirrored in zip((to_render, to_annotation), by_left, strict=True):
        expected, result = right.fit(meshes[:3]), mirrored.fit(meshes[:3])
        np.testing.assert_allclose(result.residual_mm, expected.residual_mm, atol=1e-3)
        np.testing.assert_allclose(result.shape, expected.shape, atol=1e-2)


def test_nimble_like_model_is_fitted_too(meshes, nimble_like):
    result = Fitter.to_render(nimble_like, MANO, Fit()).fit(meshes[:10])
    # its correctives are noise that no other hand can match
    assert result.residual_mm.max() < 3.0
    again = placed(RenderHand.load(nimble_like), result.pose, result.shape, result.trans).numpy()
    measured = np.linalg.norm(again - meshes[:10], axis=-1).mean(1) * 1e3
    np.testing.assert_allclose(measured, result.residual_mm, atol=0.01)


def test_models_that_do_not_belong_together_are_refused(tmp_path):
    with np.load(MANO) as file:
        arrays = {name: file[name] for name in file.files}
    order = rng(0, "tests/fit/order").permutation(778)
    names = ("v_template", "shapedirs", "posedirs", "weights")
    np.savez(tmp_path / "other.npz", **arrays | {name: arrays[name][order] for name in names if name in arrays})
    with pytest.raises(HandgapError, match="misses the palm"):
        Fitter.to_render(NIMBLE, tmp_path / "other.npz", Fit())


def test_step_carries_labels_flags_and_mirrors_left_hands(meshes, tmp_path):
    vertices = np.stack([meshes[0], meshes[0] * LEFT, meshes[0] * LEFT]).astype(np.float32)
    n = len(vertices)
    columns = {
        "id": np.arange(n),
        "K": np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)),
        "joints": np.zeros((n, 21, 3), np.float32),
        "vertices": vertices,
        "pose": np.zeros((n, 48), np.float32),
        "shape": np.zeros((n, 10), np.float32),
        "trans": np.zeros((n, 3), np.float32),
        "side": np.array([0, 1, 0], np.uint8),
        "valid": np.ones(n, bool),
        "flag": [""] * n,
    }
    write_store(tmp_path / "real.h5", columns, study="t", seed=0, code="c", config="s")
    options = {"render-hand": NIMBLE, "annotation-hand": MANO, "out": tmp_path / "fit.h5", "study": "t", "seed": 0}
    options |= {"code": "c", "settings": json.dumps({})}
    arguments = [str(x) for key, value in options.items() for x in (f"--{key}", value)]
    done = CliRunner().invoke(app, [str(tmp_path / "real.h5"), *arguments])
    assert done.exit_code == 0, done.output
    with Store(tmp_path / "fit.h5") as store:
        assert list(store.column("valid")) == [True, True, False]
        assert list(store.column("flag")) == ["", "", "mirrored: a left hand given as a right one"]
        poses = store.column("render_pose")
        np.testing.assert_allclose(poses[0], poses[1], atol=1e-3)
        np.testing.assert_array_equal(store.column("vertices"), vertices)
        assert store.column("render_trans").shape == (n, 3)


verb = Typer()
verb.command()(fit_hand)


def convert(tmp_path, *arguments, render_hand=NIMBLE):
    out = tmp_path / "out.h5"
    models = ("--render-hand", render_hand, "--annotation-hand", MANO, "--out", out)
    done = CliRunner().invoke(verb, [str(x) for x in (*arguments, *models)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return Store(out), done.output


def test_verb_reads_every_kind_of_file(meshes, tmp_path):
    skin = placed_skin()
    np.savez(tmp_path / "a.npz", vertices=meshes[:2])
    np.save(tmp_path / "b.npy", meshes[0])
    (tmp_path / "c.json").write_text(json.dumps(meshes[0].tolist()))
    (tmp_path / "d.obj").write_text("\n".join(["# skin", *(f"v {x} {y} {z}" for x, y, z in skin), "f 1 2 3"]))
    left = {"id": np.arange(1), "vertices": meshes[:1] * LEFT.astype(np.float32), "side": np.ones(1, np.uint8)}
    write_store(tmp_path / "e.h5", left, study="t", seed=0, code="c", config="s")
    store, said = convert(tmp_path, *sorted(tmp_path.glob("?.*")), "--to", "annotation")
    with store:
        assert store.column("valid").all(), said
        assert store.column("pose").shape == (6, 48) and store.column("residual_mm").max() < 1.5
        assert [Path(name).name for name in store.column("origin")] == [
            "a.npz[0]",
            "a.npz[1]",
            "b.npy[0]",
            "c.json[0]",
            "d.obj[0]",
            "e.h5[0]",
        ]
        np.testing.assert_allclose(store.column("pose")[0], store.column("pose")[5], atol=1e-3)
    store, _ = convert(tmp_path, tmp_path / "d.obj", "--to", "render")
    with store:
        assert store.column("render_pose").shape == (1, 60) and store.column("residual_mm")[0] < 0.5
        assert json.loads(store.attrs["parents"]) == [file_sha256(NIMBLE), file_sha256(MANO)]


def test_verb_reads_no_model_that_it_does_not_need(meshes, tmp_path):
    np.save(tmp_path / "a.npy", meshes[:1])
    store, _ = convert(tmp_path, tmp_path / "a.npy", "--to", "annotation", render_hand=tmp_path / "none.npz")
    with store:
        assert json.loads(store.attrs["parents"]) == [file_sha256(MANO)]
    with pytest.raises(MissingAssetError, match=r"none\.npz"):
        convert(tmp_path, tmp_path / "a.npy", "--to", "render", render_hand=tmp_path / "none.npz")


def placed_skin():
    hand = RenderHand.load(NIMBLE)
    with torch.no_grad():
        return hand(torch.zeros(1, 60), torch.zeros(1, hand.n_shape), torch.zeros(1, 3)).vertices[0].numpy()


def test_verb_says_what_is_wrong_and_how_to_cure_it(meshes, tmp_path):
    np.save(tmp_path / "mm.npy", meshes[:2] * 1e3)
    with pytest.raises(HandgapError, match="--unit mm"):
        convert(tmp_path, tmp_path / "mm.npy", "--to", "render")
    store, _ = convert(tmp_path, tmp_path / "mm.npy", "--to", "render", "--unit", "mm")
    with store:
        assert store.column("valid").all()
    store, said = convert(tmp_path, tmp_path / "mm.npy", "--to", "render", "--unit", "mm", "--side", "left")
    with store:
        assert not store.column("valid").any() and "mirrored" in said
    np.save(tmp_path / "foreign.npy", meshes[:1, :500])
    with pytest.raises(HandgapError, match="500 vertices"):
        convert(tmp_path, tmp_path / "foreign.npy", "--to", "render")
    (tmp_path / "broken.json").write_text("[[1, 2")
    (tmp_path / "flat.json").write_text("[1, 2]")
    np.savez(tmp_path / "unnamed.npz", meshes[:2])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "unnamed.npz").read_bytes()[:500])
    for name in ("broken.json", "flat.json", "unnamed.npz", "cut.npz"):
        with pytest.raises(CorruptFileError, match=name) as caught:
            convert(tmp_path, tmp_path / name, "--to", "render")
        assert "delete" not in str(caught.value)
    with pytest.raises(HandgapError, match="a store is in metres"):
        convert(tmp_path, tmp_path / "out.h5", "--to", "render", "--unit", "mm")
    with pytest.raises(MissingAssetError):
        convert(tmp_path, tmp_path / "none.npy", "--to", "render")
    with pytest.raises(HandgapError, match="no kind of file"):
        convert(tmp_path, tmp_path / "hand.stl", "--to", "render")
