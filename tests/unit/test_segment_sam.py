import json

import numpy as np
import pytest
import torch
from handgap.core.config.segment import GROUNDING_DINO, SEGMENTERS, Segment
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.core.images import encode_mask, encode_rgb
from handgap.core.seeds import rng
from handgap.core.store import Store, write_store
from handgap.segment.sam import PADDING, Prompts, SamSegmenter
from handgap.segment.sam_layers import VITS, Vit, around, build_sam, tiny_vit, vit
from handgap.segment.step import app
from pydantic import ValidationError
from segment_anything import SamPredictor
from typer.testing import CliRunner

INPUT = 256
SHAPES = ((60, 60), (40, 64), (64, 40), (301, 517), (37, 11))


def tiny_sam(input_size: int = INPUT):
    """SAM around a ViT of 2 blocks, its layers as released ones are built."""
    torch.manual_seed(0)
    model = around(vit(Vit(width=32, depth=2, heads=2, global_blocks=(1,)), input_size))
    # of zeros otherwise: positions would not matter
    torch.nn.init.normal_(model.image_encoder.pos_embed)
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sam") / "mobile_sam.pt"
    torch.save(build_sam("mobilesam", INPUT).state_dict(), path)
    return path


@pytest.fixture(scope="module", params=["mobilesam", "vit"])
def model(request, weights):
    if request.param == "vit":
        return SamSegmenter(tiny_sam())
    return SamSegmenter.load(weights, Segment(input_size=INPUT))


def images(count: int, height: int, width: int) -> np.ndarray:
    """Smooth pictures, so that the way they are scaled matters little."""
    coarse = torch.from_numpy(rng(0, "test/sam").uniform(0, 255, (count, 3, 4, 4)))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
    return smooth.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()


def prompts(width: float, height: float) -> Prompts:
    boxes = np.array([[0.2, 0.2, 0.7, 0.9], [0.0, 0.0, 1.0, 1.0]]) * [width, height, width, height]
    return Prompts(boxes, np.full((2, 3, 2), 5.0), np.array([[1, 0, PADDING], [PADDING] * 3]))


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("kind", ["boxes", "points", "both"])
@pytest.mark.parametrize("multimask", [True, False])
def test_answers_are_those_of_the_authors_predictor(monkeypatch, height, width, kind, multimask):
    layers = tiny_sam()
    image = images(1, height, width)[0]
    predictor = SamPredictor(layers)
    predictor.set_image(image)
    box = np.array([0.2 * width, 0.1 * height, 0.7 * width, 0.9 * height])
    points = np.array([[0.5 * width, 0.4 * height], [0.9 * width, 0.2 * height]])
    ours = SamSegmenter(layers, multimask=multimask)
    asked = Prompts(
        None if kind == "points" else box[None],
        None if kind == "boxes" else points[None],
        None if kind == "boxes" else np.array([[1, 0]]),
    )
    # theirs counts from the centre of the first pixel of the scaled image
    half = 0.5 * np.array([width / predictor.input_size[1], height / predictor.input_size[0]])
    _, quality, expected = predictor.predict(
        point_coords=None if kind == "boxes" else points - half,
        point_labels=None if kind == "boxes" else np.array([1, 0]),
        box=None if kind == "points" else box - np.tile(half, 2),
        multimask_output=multimask,
    )
    monkeypatch.setattr(SamSegmenter, "_at_pixels", lambda self, logits, size, scaled: logits)
    logits, estimates = ours.decode(predictor.features[0], (height, width), asked)
    np.testing.assert_allclose(estimates[0], quality, atol=1e-5)
    np.testing.assert_allclose(logits[0], expected, atol=1e-4)
    # bfloat16 inside, and scaled as floats
    close = torch.nn.functional.cosine_similarity(ours.embed(image[None])[0], predictor.features[0], dim=0)
    assert close.mean() > 0.999


@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_logits_grow_as_the_authors_do(height, width):
    layers = tiny_sam()
    ours, side = SamSegmenter(layers), INPUT // 4
    coarse = torch.randn(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    logits = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    scaled = ours._scaled(height, width)
    expected = layers.postprocess_masks(logits, scaled, (height, width))
    # theirs goes by way of the scaled image
    torch.testing.assert_close(ours._at_pixels(logits, (height, width), scaled), expected, atol=0.05, rtol=0)


def test_masks_have_the_images_size_whatever_its_shape(model):
    for height, width in SHAPES:
        embedding = model.embed(images(1, height, width))[0]
        logits, quality = model.decode(embedding, (height, width), prompts(width, height))
        assert logits.shape == (2, 3, height, width)
        assert quality.shape == (2, 3)
        assert np.isfinite(logits).all()


def test_logits_are_sampled_where_the_pixels_lie():
    ours = SamSegmenter(tiny_sam())
    side = INPUT // 4
    ramp = torch.arange(side).add(0.5).expand(1, 1, side, side) * 4  # px of the input at each cell's centre
    for height, width in ((20, 64), (64, 20), (128, 128)):
        scaled = ours._scaled(height, width)
        sampled = ours._at_pixels(ramp, (height, width), scaled)[0, 0, 0].numpy()
        truth = (np.arange(width) + 0.5) * scaled[1] / width
        inner = (truth > 2) & (truth < INPUT - 2)
        np.testing.assert_allclose(sampled[inner], truth[inner], atol=1e-2)


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

    ours = tiny_vit(1024)
    pixels = torch.rand(1, 3, 1024, 1024)
    with torch.inference_mode():
        torch.testing.assert_close(TinyViT.forward_features(ours, pixels), ours.forward_features(pixels))


@pytest.mark.parametrize("name", VITS)
def test_vits_are_those_of_the_authors(name):
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        expected, ours = sam_model_registry[name](), build_sam(name, 1024)
    shapes = [{key: value.shape for key, value in built.state_dict().items()} for built in (ours, expected)]
    assert shapes[0] == shapes[1]
    attended = [[block.window_size for block in built.image_encoder.blocks] for built in (ours, expected)]
    assert attended[0] == attended[1]
    assert ours.image_encoder.blocks[0].norm1.eps == expected.image_encoder.blocks[0].norm1.eps


def test_vits_want_their_own_input_size():
    with pytest.raises(ValidationError, match="set input_size: 1024"):
        Segment(segmenter="vit_h")
    assert Segment(segmenter="vit_h", input_size=1024).segmenter == "vit_h"
    with pytest.raises(ValidationError, match=r"3.0 is not below 0.1"):
        Segment(object_area=(3.0, 0.1))


def test_other_weights_are_refused(tmp_path):
    path, settings = tmp_path / "mobile_sam.pt", Segment(input_size=INPUT)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(CorruptFileError, match="not the weights of mobilesam"):
        SamSegmenter.load(path, settings)
    whole = path.read_bytes()
    for content in (whole[:100], b"", b"<html>not found</html>", b"PK"):
        path.write_bytes(content)
        with pytest.raises(CorruptFileError, match="not the weights of mobilesam"):
            SamSegmenter.load(path, settings)
    torch.save([1], path)
    with pytest.raises(CorruptFileError, match="not the weights of mobilesam"):
        SamSegmenter.load(path, settings)


def test_weights_that_run_code_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CorruptFileError):
        SamSegmenter.load(tmp_path / "evil.pt", Segment(input_size=INPUT))
    assert not (tmp_path / "owned").exists()


def test_weights_of_another_model_are_refused(weights):
    with pytest.raises(CorruptFileError, match="not the weights of vit_b") as caught:
        SamSegmenter.load(weights, Segment(segmenter="vit_b", input_size=1024))
    assert "pass vit_b's file, or the --segmenter it is for" in str(caught.value)
    assert "delete" not in str(caught.value)  # it may be good weights of the other model


def test_missing_weights_name_their_cure(tmp_path):
    with pytest.raises(MissingAssetError, match=r"results/assets/mobilesam/asset\.json"):
        SamSegmenter.load(tmp_path / "mobile_sam.pt", Segment())
    with pytest.raises(MissingAssetError, match=r"sam_vit_h_4b8939\.pth of facebookresearch/segment-anything"):
        SEGMENTERS["vit_h"].find(tmp_path)


def test_weights_are_found_in_folders(tmp_path):
    asset = tmp_path / GROUNDING_DINO.asset
    asset.mkdir()
    (asset / GROUNDING_DINO.file).touch()
    for where in (tmp_path, asset, asset / GROUNDING_DINO.file):
        assert GROUNDING_DINO.find(where) == asset / GROUNDING_DINO.file


def test_every_segmenters_asset_is_in_the_table():
    from handgap.assets.table import read_table

    from tests.conftest import ROOT

    table = read_table(ROOT / "config/assets.csv")
    for weights in (*SEGMENTERS.values(), GROUNDING_DINO):
        assert table[weights.asset].file.endswith(weights.file)


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
        "side": np.zeros(3, np.uint8),
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
        assert store.column("no_object").tolist()[2] == "hand out of the picture"
        assert {"no_hand", "no_arm"} < set(store.names)
    pair = ["--real", str(tmp_path / "real.h5"), "--masks", str(tmp_path / "masks.h5")]
    CliRunner().invoke(app, ["score", *pair, "--out", str(tmp_path / "q.csv")], catch_exceptions=False)
    assert (tmp_path / "q.csv").read_text().startswith("class,bin,n,median_iou")
