import json

import numpy as np
import pytest
import torch
from handgap.core.errors import CorruptFileError
from handgap.core.images import encode_mask, encode_rgb
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from handgap.segment.sam import PADDING, MobileSam, Prompts, build_mobile_sam
from handgap.segment.step import app
from typer.testing import CliRunner

INPUT = 256


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sam") / "mobile_sam.pt"
    torch.save(build_mobile_sam(INPUT).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def model(weights):
    return MobileSam(weights, INPUT)


def images(count: int, height: int, width: int) -> np.ndarray:
    return rng(0, "test/sam").integers(0, 256, (count, height, width, 3), np.uint8)


def prompts(width: float, height: float) -> Prompts:
    boxes = np.array([[0.2, 0.2, 0.7, 0.9], [0.0, 0.0, 1.0, 1.0]]) * [width, height, width, height]
    return Prompts(boxes, np.full((2, 3, 2), 5.0), np.array([[1, 0, PADDING], [PADDING] * 3]))


def test_masks_have_the_images_size_whatever_its_shape(model):
    for height, width in ((60, 60), (40, 64), (64, 40)):
        embedding = model.embed(images(1, height, width))[0]
        logits, quality = model.decode(embedding, (height, width), prompts(width, height))
        assert logits.shape == (2, 3, height, width)
        assert quality.shape == (2, 3)
        assert np.isfinite(logits).all()


def test_a_batch_gives_what_single_images_give(model):
    batch = images(3, 48, 48)
    together = model.embed(batch)
    alone = torch.cat([model.embed(image[None]) for image in batch])
    assert together.shape == (3, 256, INPUT // 16, INPUT // 16)
    torch.testing.assert_close(together, alone, atol=0.05, rtol=0.05)  # bfloat16


def test_answers_are_deterministic_and_independent_of_each_other(model):
    embedding = model.embed(images(1, 48, 48))[0]
    both = prompts(48, 48)
    first, _ = model.decode(embedding, (48, 48), both)
    again, _ = model.decode(embedding, (48, 48), both)
    single, _ = model.decode(embedding, (48, 48), Prompts(both.boxes[:1], both.points[:1], both.labels[:1]))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(single[0], first[0], atol=1e-3)


def test_encoder_equals_upstreams_at_its_own_size():
    from mobile_sam.modeling import TinyViT

    ours = build_mobile_sam(1024).image_encoder
    pixels = torch.rand(1, 3, 1024, 1024)
    with torch.inference_mode():
        torch.testing.assert_close(TinyViT.forward_features(ours, pixels), ours.forward_features(pixels))


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "mobile_sam.pt"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(CorruptFileError, match="not MobileSAM's weights"):
        MobileSam(path, INPUT)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptFileError, match="not MobileSAM's weights"):
        MobileSam(path, INPUT)


def test_step_writes_masks_and_scores_them(weights, tmp_path):
    size, generator = 64, rng(0, "test/step")
    joints = np.tile([0.0, 0.0, 0.5], (3, 21, 1)) + generator.normal(0, 0.02, (3, 21, 3))
    vertices = np.tile([0.0, 0.0, 0.5], (3, 778, 1)) + generator.normal(0, 0.02, (3, 778, 3))
    vertices[2, :, 0] += 5.0  # out of the picture
    labels = np.zeros((size, size), np.uint8)
    labels[20:40, 20:40] = 1
    columns = {
        "id": np.arange(3),
        "image": [encode_rgb(image) for image in images(3, size, size)],
        "mask": [encode_mask(labels)] * 3,
        "K": np.tile(np.array([[100.0, 0, 32], [0, 100.0, 32], [0, 0, 1]], np.float32), (3, 1, 1)),
        "joints": joints.astype(np.float32),
        "vertices": vertices.astype(np.float32),
        "occlusion": np.zeros(3, np.float32),
        "valid": np.array([True, False, True]),
        "flag": ["", "fell over", ""],
    }
    write_store(tmp_path / "real.h5", columns, study="t", seed=0, code="c", config="k")
    np.savez(tmp_path / "hand.npz", faces=generator.integers(0, 778, (50, 3)))
    arguments = ["masks", str(tmp_path / "real.h5"), "--weights", str(weights), "--out", str(tmp_path / "masks.h5")]
    arguments += ["--annotation-hand", str(tmp_path / "hand.npz"), "--study", "t", "--seed", "0", "--code", "c"]
    arguments += ["--settings", json.dumps({"input_size": INPUT})]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    with Store(tmp_path / "masks.h5") as store:
        assert store.column("boxes").shape == (3, 3, 4)
        assert store.column("box_source").tolist() == ["annotation"] * 3
        assert store.column("valid").tolist()[1:] == [False, False]
        assert store.column("flag").tolist()[1:] == ["fell over", "hand out of the picture"]
    pair = ["--real", str(tmp_path / "real.h5"), "--masks", str(tmp_path / "masks.h5")]
    CliRunner().invoke(app, ["score", *pair, "--out", str(tmp_path / "q.csv")], catch_exceptions=False)
    assert (tmp_path / "q.csv").read_text().startswith("class,bin,n,median_iou")
