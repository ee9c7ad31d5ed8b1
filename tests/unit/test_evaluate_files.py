"""The datasets' own files in and out, and what is said of faulty ones."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from evaluation_hands import challenge, dexycb, predicted, to_ho3d, true_hands, write_truth
from handgap.cli import app
from handgap.core.errors import ConfigError, CorruptFileError, HandgapError, MissingAssetError
from handgap.core.images import encode_rgb
from handgap.core.store import Store, write_store
from handgap.evaluate.files.challenge import read_challenge, write_challenge
from handgap.evaluate.files.dexycb import read_dexycb_truth, write_dexycb_text
from handgap.evaluate.files.number_lists import parse_points
from handgap.evaluate.files.sources import judge, read_sources
from handgap.evaluate.protocols import DEXYCB, FREIHAND, GEOREC, HO3D_V2, HO3D_V3, PROTOCOLS, RENDERIH
from typer.testing import CliRunner

COUNT = 12
SERIALS = [f"8362120601{k:02d}" for k in range(8)]
PROVENANCE = {"study": "test", "seed": 0, "code": "c", "config": "s"}
runner = CliRunner()


@pytest.fixture(scope="module")
def hands():
    truth = true_hands(COUNT)
    return truth, predicted(truth)


def write_pred(path, joints, vertices):
    text = json.dumps([joints.tolist(), vertices.tolist()])
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("pred.json", text)
    else:
        path.write_text(text)
    return path


def means(protocol, pred, truth, **options):
    _, scores, _ = judge(protocol, read_sources(protocol, pred, [truth], **options))
    return {name: score.mean() for name, score in scores.items()}


@pytest.mark.parametrize("suffix", [".json", ".zip"])
def test_freihands_files(tmp_path, hands, suffix):
    truth, pred = hands
    folder = write_truth(tmp_path / "FreiHAND", *truth)
    ours = means(FREIHAND, write_pred(tmp_path / f"pred{suffix}", *pred), folder)
    assert ours == pytest.approx(challenge(*truth, *pred, ho3d=False), abs=1e-6)


@pytest.mark.parametrize("protocol", [HO3D_V2, HO3D_V3], ids=lambda protocol: protocol.name)
def test_ho3ds_files_have_manos_order_and_an_opengl_camera(tmp_path, hands, protocol):
    truth, pred = hands
    folder = write_truth(tmp_path / "HO3D", *to_ho3d(*truth))
    ours = means(protocol, write_pred(tmp_path / "pred.zip", *to_ho3d(*pred)), folder)
    assert ours == pytest.approx(challenge(*truth, *pred, ho3d=True), abs=1e-6)
    with pytest.raises(CorruptFileError, match="z is positive in 12 samples"):
        read_sources(protocol, write_pred(tmp_path / "opencv.json", *pred), [folder])


@pytest.mark.parametrize("protocol", ["freihand", "ho3d_v2", "ho3d_v3"])
@pytest.mark.parametrize("suffix", [".json", ".zip"])
def test_what_is_written_is_read_back(tmp_path, hands, protocol, suffix):
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        write_challenge(path, protocol, *hands[1])
    back = read_challenge(paths[0], protocol)
    for name, values in zip(("joints", "vertices"), hands[1], strict=True):
        np.testing.assert_array_equal(back.columns[name], values)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if protocol != "freihand":
        text = zipfile.ZipFile(paths[0]).read("pred.json") if suffix == ".zip" else paths[0].read_bytes()
        joints = np.array(json.loads(text)[0])
        assert (joints[..., 2] < 0).all()
        np.testing.assert_allclose(joints[:, 1] * [1, -1, -1], hands[1][0][:, 5])  # index follows the wrist
        with pytest.raises(CorruptFileError, match="behind the camera"):
            write_challenge(paths[0], protocol, hands[1][0] - [0, 0, 1], hands[1][1])


def lines_of(ids, joints):
    return [
        ",".join(map(repr, [int(k), *map(float, 1000 * hand.ravel())])) for k, hand in zip(ids, joints, strict=True)
    ]


def dexycb_folder(root, joints):
    """Frames of eight cameras in two sequences, one of them tested on; frame 3 has no pose."""
    for subject in range(10):
        for sequence in range(100):
            folder = root / f"20200709-subject-{subject + 1:02d}" / f"20200709_{sequence:06d}"
            folder.mkdir(parents=True)
            tested = subject == 2 and sequence in (3, 4)
            meta = {"serials": SERIALS[::-1], "num_frames": len(joints) if tested else 0}
            meta |= {"mano_calib": ["x"], "mano_sides": ["right"]}
            (folder / "meta.yml").write_text(json.dumps(meta))
            for camera, serial in enumerate(SERIALS if tested else ()):
                (folder / serial).mkdir()
                for frame, hand in enumerate(joints):
                    label = hand + 0.001 * camera if frame != 3 else np.full((21, 3), -1)
                    path = folder / serial / f"labels_{frame:06d}.npz"
                    np.savez(path, joint_3d=label[None].astype(np.float32), pose_m=np.zeros((1, 51)))
    return root


def test_dexycbs_folder_and_text(tmp_path, hands):
    (joints, _), (pred, _) = hands
    joints, pred = joints[:5].astype(np.float32).astype(np.float64), pred[:5]
    root = dexycb_folder(tmp_path / "dexycb", joints)
    truth = read_dexycb_truth(root, "s0")
    assert truth.ids.tolist() == list(range(40))  # sequence 4 alone, eight cameras of five frames
    assert np.flatnonzero(~truth.valid).tolist() == list(range(3, 40, 5))
    np.testing.assert_allclose(truth.columns["joints"][7], joints[2] + 0.001, atol=1e-7)
    found = np.concatenate([pred + 0.001 * camera for camera in range(8)])
    ids = np.flatnonzero(truth.valid)
    (tmp_path / "pred.txt").write_text("\n".join(lines_of(ids[::-1], found[ids][::-1])) + "\n")
    ours = means(DEXYCB, tmp_path / "pred.txt", root)
    assert ours == pytest.approx(dexycb(truth.columns["joints"][ids], found[ids]), abs=1e-6)
    write_dexycb_text(tmp_path / "again.txt", np.arange(40), found)  # frames without a pose may be there
    assert means(DEXYCB, tmp_path / "again.txt", root) == pytest.approx(ours, abs=1e-3)
    for change, message in (
        (lambda lines: lines[1:], "1 of 40 samples missing|valid samples have no valid"),
        (lambda lines: [*lines, lines[0]], "ids repeat"),
        (lambda lines: [*lines, lines[0].replace("39", "77", 1)], "1 samples not in the truth, first id 77"),
        (lambda lines: [line.rpartition(",")[0] for line in lines], "63 numbers"),
        (lambda lines: [*lines[:-1], lines[-1][:200]], "not a table"),
        (lambda lines: ["0.5" + lines[0][2:]], "no index"),
    ):
        (tmp_path / "bad.txt").write_text("\n".join(change(lines_of(ids[::-1], found[ids][::-1]))))
        with pytest.raises(CorruptFileError, match=message):
            read_sources(DEXYCB, tmp_path / "bad.txt", [root])


def test_numbers_are_read_like_by_json(hands):
    lists = [part.tolist() for part in hands[0]]
    for text in (json.dumps(lists), json.dumps(lists, indent=1), json.dumps(lists, separators=(",", ":"))):
        read = parse_points(text.encode(), (21, 778), "x", "")
        for part, expected in zip(read, lists, strict=True):
            np.testing.assert_array_equal(part, expected)


def spoilt(name):
    joints, vertices = (part.copy() for part in predicted(true_hands(COUNT)))
    whole = json.dumps([joints.tolist(), vertices.tolist()])
    bad = joints.tolist()
    match name:
        case "truncated":
            return whole[:-5000]
        case "a comma lost":
            return whole.replace(", ", " ", 1)
        case "joints":
            return json.dumps([joints[:, :20].tolist(), vertices.tolist()])
        case "one sample":
            bad[4].pop()
            return json.dumps([bad, vertices.tolist()])
        case "nan":
            bad[5][6][0] = float("nan")
            return json.dumps([bad, vertices.tolist()])
        case "words":
            bad[5][6][0] = "far"
            return json.dumps([bad, vertices.tolist()])
        case "joints alone":
            return json.dumps(bad)
        case "lengths":
            return json.dumps([bad[1:], vertices.tolist()])
        case "half":
            return json.dumps([joints[::2].tolist(), vertices[::2].tolist()])
        case "eleven":
            return json.dumps([joints[1:].tolist(), vertices[1:].tolist()])
        case "millimetres":
            return json.dumps([(1000 * joints).tolist(), (1000 * vertices).tolist()])
        case "order":
            return json.dumps([to_ho3d(joints, vertices)[0].tolist(), vertices.tolist()])
        case "tips first":
            order = [0, *(4 * f + k for f in range(5) for k in (4, 3, 2, 1))]
            return json.dumps([joints[:, order].tolist(), vertices.tolist()])
        case "thumb last":
            return json.dumps([joints[:, [0, *range(5, 21), *range(1, 5)]].tolist(), vertices.tolist()])
        case "mirrored":
            flip = np.array([-1, 1, 1])
            return json.dumps([(joints * flip).tolist(), (vertices * flip).tolist()])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("truncated", "truncated, or no JSON"),
        ("a comma lost", "no JSON"),
        ("joints", r"sample 0 has shape \(20, 3\), expected \(21, 3\)"),
        ("one sample", r"sample 4 has shape \(20, 3\)"),
        ("nan", "sample 5 is not finite"),
        ("words", "sample 5 is no list of points"),
        ("joints alone", "not a list of 2 lists"),
        ("lengths", "different length: 11 and 12"),
        ("half", "6 predictions for 12 samples; that is one part in 2"),
        ("eleven", "11 predictions for 12 samples"),
        ("millimetres", "another unit"),
        ("mirrored", "mirror images"),
        ("order", "taken for MANO's order"),
        ("tips first", "fingers from tip to base"),
        ("thumb last", "the thumb behind"),
    ],
)
def test_faulty_predictions_are_one_clear_error(tmp_path, hands, fault, message):
    folder = write_truth(tmp_path / "truth", *hands[0])
    (tmp_path / "pred.json").write_text(spoilt(fault))
    with pytest.raises(CorruptFileError, match=message) as error:
        read_sources(FREIHAND, tmp_path / "pred.json", [folder])
    assert "pred.json" in str(error.value)


def test_faulty_truth_is_one_clear_error(tmp_path, hands):
    pred = write_pred(tmp_path / "pred.json", *hands[1])
    with pytest.raises(MissingAssetError, match=r"evaluation_xyz\.json"):
        read_sources(FREIHAND, pred, [tmp_path])
    folder = write_truth(tmp_path / "mm", *(1000 * part for part in hands[0]))
    with pytest.raises(CorruptFileError, match="mm: the median distance from wrist to middle knuckle"):
        read_sources(FREIHAND, pred, [folder])
    folder = write_truth(tmp_path / "uneven", hands[0][0], hands[0][1][1:])
    with pytest.raises(CorruptFileError, match="12 joints and of 11 meshes"):
        read_sources(FREIHAND, pred, [folder])
    with pytest.raises(HandgapError, match=r"no folder \*-subject-01"):
        read_sources(DEXYCB, tmp_path / "pred.txt", [folder])
    with pytest.raises(ConfigError, match="reads no folder"):
        read_sources(RENDERIH, pred, [folder])
    with pytest.raises(ConfigError, match=r"give one of .h5, .npz, .json, .zip"):
        read_sources(FREIHAND, tmp_path / "pred.txt", [write_truth(tmp_path / "good", *hands[0])])
    for content, message in ((b"PK", "not a readable zip"), (None, "2 JSON files")):
        path = tmp_path / "pred.zip"
        if content:
            path.write_bytes(content)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("pred.json", "[]")
                archive.writestr("more.json", "[]")
        with pytest.raises(CorruptFileError, match=message):
            read_challenge(path, "freihand")


def test_an_all_zeros_predictor_is_let_through(tmp_path, hands):
    truth = hands[0]
    zeros = [np.zeros_like(part) for part in truth]
    ours = means(FREIHAND, write_pred(tmp_path / "pred.json", *zeros), write_truth(tmp_path / "t", *truth))
    assert ours["abs_f15"] == 0.0 and ours["abs_mpjpe"] > 500


def stores(folder, hands, **columns):
    truth, pred = hands
    count = len(truth[0])
    labels = {"id": np.arange(count), "valid": np.ones(count, bool), "flag": [""] * count}
    labels |= {"joints": truth[0].astype(np.float32), "vertices": truth[1].astype(np.float32)} | columns
    write_store(folder / "truth.h5", labels, **PROVENANCE)
    np.savez(folder / "pred.npz", joints=pred[0], vertices=pred[1])
    return folder / "pred.npz", folder / "truth.h5"


def test_two_hands_come_as_rows_of_stores(tmp_path):
    right, left = true_hands(5, 2), true_hands(5, 3)
    truth = tuple(np.stack([r, x], 1).reshape(10, *r.shape[1:]) for r, x in zip(right, left, strict=True))
    picture, side = np.repeat(np.arange(5), 2), np.tile(np.array([0, 1], np.uint8), 5)
    valid = np.arange(10) != 3
    paths = stores(tmp_path, (truth, predicted(truth)), image_id=picture, side=side, valid=valid)
    ids, scores, excluded = judge(RENDERIH, read_sources(RENDERIH, paths[0], [paths[1]]))
    assert ids.tolist() == [0, 2, 3, 4] and excluded == 2
    assert {"mpjpe", "smpjpe", "pa_mpjpe", "mrrpe", "mrrpe_per_axis", "cdev"} == set(scores)
    assert scores["mrrpe"].values.shape == (4,)


def test_georec_takes_pixels_predicted_or_projected(tmp_path, hands):
    K = np.tile(np.array([[600, 0, 320], [0, 600, 240], [0, 0, 1]], np.float32), (COUNT, 1, 1))
    picture = encode_rgb(np.zeros((480, 640, 3), np.uint8))
    pred, truth = stores(tmp_path, hands, K=K, image=[picture] * COUNT)
    projected = means(GEOREC, pred, truth)
    uv = hands[1][0][..., :2] / hands[1][0][..., 2:] * 600 + [320, 240]
    true_uv = hands[0][0][..., :2] / hands[0][0][..., 2:] * 600 + [320, 240]
    assert projected["pixel_error"] == pytest.approx(np.linalg.norm(uv - true_uv, axis=2).mean(), rel=1e-4)
    assert projected["pck2d_image"] == pytest.approx((np.linalg.norm(uv - true_uv, axis=2) < 32).mean(), abs=0.01)
    np.savez(pred, joints=hands[1][0], uv=true_uv)
    assert means(GEOREC, pred, truth)["pck2d_box"] == 1.0


def test_evaluate_writes_a_table_and_samples_with_levels(tmp_path, hands):
    visibility = np.arange(21) >= 2 * np.arange(COUNT)[:, None]
    pred, truth = stores(tmp_path, hands, visibility=visibility)
    out, kept = tmp_path / "m.csv", tmp_path / "m.h5"
    options = ["--out", out, "--per-sample", kept, "--crop", "the whole image", "--levels", 0.75, "--levels", 0.25]
    result = runner.invoke(app, list(map(str, ["evaluate", "--pred", pred, "--truth", truth, *options])))
    assert result.exit_code == 0, result.exception
    frame = pd.read_csv(out).set_index("metric")
    assert frame.protocol.str.endswith("crop: the whole image").all() and "root middle1" in frame.protocol.iloc[0]
    assert frame.loc["pa_mpjpe hidden 0-0.25", "n"] == 3 and frame.loc["pa_mpjpe hidden 0.25-0.75", "n"] == 5
    by_level = [frame.loc[f"pa_mpjpe hidden {span}"] for span in ("0-0.25", "0.25-0.75", "0.75-1")]
    assert sum(row.value * row.n for row in by_level) / COUNT == pytest.approx(frame.value["pa_mpjpe"])
    assert frame.loc["mpjpe of hidden joints", "n"] == COUNT - 1
    with Store(kept) as store:
        assert store.column("pa_mpjpe").mean() == pytest.approx(frame.value["pa_mpjpe"])
        np.testing.assert_allclose(store.column("hidden"), 1 - visibility.mean(1))


@pytest.mark.parametrize("protocol", ["freihand", "ho3d_v2", "dexycb"])
def test_a_store_becomes_a_submission(tmp_path, hands, protocol):
    joints, vertices = hands[1]
    columns = {"id": np.arange(COUNT)[::-1].copy(), "valid": np.ones(COUNT, bool)}
    columns |= {"joints": joints[::-1].copy(), "vertices": vertices[::-1].copy()}
    write_store(tmp_path / "pred.h5", columns, **PROVENANCE, extra={"frame": "camera"})
    out = tmp_path / ("pred.txt" if protocol == "dexycb" else "pred.zip")
    arguments = ["submission", "--pred", tmp_path / "pred.h5", "--protocol", protocol, "--out", out]
    result = runner.invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0 and f"{COUNT} samples" in result.output, result.exception
    if protocol == "dexycb":
        table = np.loadtxt(out, delimiter=",")
        assert table[:, 0].tolist() == list(range(COUNT))
        np.testing.assert_allclose(table[:, 1:].reshape(-1, 21, 3) / 1000, joints, atol=1e-7)
    else:
        np.testing.assert_array_equal(read_challenge(out, protocol).columns["joints"], joints)
    write_store(tmp_path / "pred.h5", columns, **PROVENANCE, extra={"frame": "camera, true root added"})
    result = runner.invoke(app, list(map(str, arguments)))
    if protocol == "freihand":
        assert "only aligned numbers count" in result.output
        written = read_challenge(out, protocol).columns
        np.testing.assert_array_equal(written["joints"], joints - joints[:, 9:10])
        np.testing.assert_array_equal(written["vertices"], vertices - joints[:, 9:10])
    else:
        assert isinstance(result.exception, ConfigError) and "true root" in str(result.exception)


def test_a_truncated_file_is_one_message_without_traceback(tmp_path, hands):
    folder = write_truth(tmp_path / "truth", *hands[0])
    (tmp_path / "pred.json").write_text(spoilt("truncated"))
    command = [sys.executable, "-m", "handgap.cli", "evaluate", "--pred", tmp_path / "pred.json", "--truth", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "truncated" in done.stderr


def test_every_protocol_is_on_the_command_line():
    text = runner.invoke(app, ["evaluate", "--help"], env={"COLUMNS": "400"}).output
    assert all(name in text for name in PROTOCOLS)
