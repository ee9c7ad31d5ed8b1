import socket
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError
from handgap.core.seeds import rng

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    backbone = pytest.importorskip(
        "groundingdino.models.GroundingDINO.backbone.backbone", reason="groundingdino-py is not installed"
    )
    from groundingdino.datasets import transforms as T
    from groundingdino.models.GroundingDINO.backbone.swin_transformer import SwinTransformer
    from groundingdino.util.misc import nested_tensor_from_tensor_list
from handgap.segment.grounding_dino import GroundingDino, build_grounding_dino, load_grounding_dino, load_weights
from PIL import Image
from torchvision.ops import box_convert, box_iou
from transformers import BertConfig, BertModel

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "hand", "and", "arm", "object", "fore", "##arm")
PROMPTS = ("hand", "Hand and forearm", "object")
BERT = BertConfig(
    vocab_size=len(PIECES), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
)
SWIN = dict(embed_dim=12, depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 4], window_size=7)
SIZES = dict(enc_layers=2, dec_layers=2, dim_feedforward=64, num_queries=40)
OPEN = dict(box_threshold=0.0, text_threshold=0.0, short_side=256)  # all 40 queries answer every prompt


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("".join(f"{piece}\n" for piece in PIECES))
    return path


@pytest.fixture(scope="module")
def build(vocab):
    """The package's own model with few and narrow layers, and boxes that differ from query to query."""

    def tiny(seed: int = 0) -> torch.nn.Module:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                backbone, "build_swin_transformer", lambda name, **options: SwinTransformer(**{**options, **SWIN})
            )
            torch.manual_seed(seed)
            model = build_grounding_dino(vocab, BERT, **SIZES)
        # at first, probabilities are 0 or 1 throughout, and boxes stay where they are proposed
        torch.nn.init.constant_(model.transformer.decoder.norm.weight, 0.03)
        torch.nn.init.normal_(model.bbox_embed[0].layers[2].weight, std=2.0)
        return model

    return tiny


@pytest.fixture(scope="module")
def model(build):
    return build()


def images(count: int, height: int = 40, width: int = 56) -> list[np.ndarray]:
    return list(rng(0, "test/dino").integers(0, 256, (count, height, width, 3), np.uint8))


def same(first, second, atol: float = 0.0) -> None:
    np.testing.assert_array_equal(first.prompts, second.prompts)
    np.testing.assert_allclose(first.boxes, second.boxes, atol=atol * 100)
    np.testing.assert_allclose(first.scores, second.scores, atol=atol)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (56, 40), (30, 30), (12, 90)])
def test_boxes_are_in_pixels_inside_the_image_and_sorted(model, height, width):
    (found,) = GroundingDino(model, PROMPTS, **OPEN)(images(1, height, width))
    assert len(found.boxes) == len(found.scores) == len(found.prompts) > 3
    assert set(found.prompts) == {0, 1, 2}
    assert (found.boxes[:, :2] >= 0).all() and (found.boxes[:, 2:] <= [width, height]).all()
    assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()
    assert found.boxes[:, 2].max() > 0.5 * width and found.boxes[:, 3].max() > 0.5 * height
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.scores > 0) & (found.scores < 1)).all()
    assert found.boxes.dtype == found.scores.dtype == np.float64


def test_answers_are_deterministic_and_do_not_depend_on_the_batch(model):
    detect = GroundingDino(model, PROMPTS, **OPEN)
    batch = [*images(2), *images(1, 56, 40), images(3)[2]]
    together = detect(batch)
    assert not np.array_equal(together[0].scores, together[1].scores)
    for first, again in zip(together, detect(batch), strict=True):
        same(first, again)
    for first, image in zip(together, batch, strict=True):
        same(first, detect([image])[0], atol=1e-4)
    assert detect([]) == []


@pytest.mark.parametrize(("height", "width"), [(300, 420), (30, 225)])
def test_boxes_are_those_the_packages_own_inference_gives(model, height, width):
    """Also of an image so narrow that it needs a canvas: there, the package pads it beside a larger one."""
    image = images(1, height, width)[0]
    normalise = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    pixels, _ = T.Compose([T.RandomResize([256], max_size=427), T.ToTensor(), normalise])(Image.fromarray(image), None)
    samples = nested_tensor_from_tensor_list([pixels, torch.zeros(3, 256, pixels.shape[2])])
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        raw = model(samples, captions=["hand . hand and forearm . object ."] * 2)
    boxes = box_convert(raw["pred_boxes"][0], "cxcywh", "xyxy").numpy() * [width, height, width, height]
    boxes = np.clip(boxes, 0, [width, height, width, height])
    words = raw["pred_logits"][0].sigmoid().numpy()
    (found,) = GroundingDino(model, PROMPTS, **OPEN)([image])
    # [CLS] hand . hand and fore ##arm . object . [SEP]
    spans = (slice(1, 2), slice(3, 7), slice(8, 9))
    for box, score, prompt in zip(found.boxes, found.scores, found.prompts, strict=True):
        query = np.abs(boxes - box).max(1).argmin()
        np.testing.assert_allclose(boxes[query], box, atol=0.01)
        assert words[query, spans[prompt]].mean() == pytest.approx(score, abs=1e-4)


def test_boxes_around_one_thing_are_one(model):
    (found,) = GroundingDino(model, PROMPTS, **OPEN)(images(1))
    for prompt in range(3):
        boxes = torch.from_numpy(found.boxes[found.prompts == prompt])
        assert (box_iou(boxes, boxes) - torch.eye(len(boxes))).max() <= 0.7 + 1e-9


def answering(model, logits: torch.Tensor) -> torch.nn.Module:
    """A model that answers with three boxes and these logits (3, 11) of the caption's words."""

    class Answers(torch.nn.Module):
        tokenizer, specical_tokens, max_text_len = model.tokenizer, model.specical_tokens, model.max_text_len

        def forward(self, samples, captions):
            padded = torch.full((1, 3, 256), -torch.inf)
            padded[0, :, : logits.shape[1]] = logits
            boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.9, 0.9, 0.4, 0.4], [0.25, 0.25, 0.5, 0.5]]])
            return {"pred_boxes": boxes, "pred_logits": padded}

    return Answers()


def test_scores_and_thresholds_follow_the_words(model):
    # [CLS] hand . hand and fore ##arm . object . [SEP]
    probability = torch.full((3, 11), 0.01)
    probability[0, [1, 3]] = torch.tensor([0.8, 0.6])  # a hand, and so the first word of the second prompt
    probability[1, 3:7] = torch.tensor([0.28, 0.2, 0.9, 0.7])  # an arm
    probability[2, [0, 2, 7, 8, 10]] = torch.tensor([0.9, 0.9, 0.9, 0.29, 0.9])  # between words: answers nothing
    detect = partial(GroundingDino, answering(model, probability.logit()), PROMPTS, short_side=256)
    (found,) = detect(box_threshold=0.3, text_threshold=0.25)([np.zeros((100, 200, 3), np.uint8)])
    assert found.prompts.tolist() == [0, 1, 1]
    # words below the text threshold count for nothing
    np.testing.assert_allclose(found.scores, [0.8, (0.28 + 0.9 + 0.7) / 4, 0.6 / 4], atol=1e-6)
    # 0.9 of the width and height, 0.4 wide: reaches beyond the image
    np.testing.assert_allclose(found.boxes, [[80, 30, 120, 70], [140, 70, 200, 100], [80, 30, 120, 70]], atol=1e-4)
    (fewer,) = detect(box_threshold=0.3, text_threshold=0.65)([np.zeros((100, 200, 3), np.uint8)])
    assert fewer.prompts.tolist() == [0, 1]
    np.testing.assert_allclose(fewer.scores, [0.8, (0.9 + 0.7) / 4], atol=1e-6)
    (none,) = detect(box_threshold=0.95, text_threshold=0.25)([np.zeros((100, 200, 3), np.uint8)])
    assert none.boxes.shape == (0, 4) and none.scores.shape == none.prompts.shape == (0,)


def test_text_encoder_reads_each_prompt_as_if_it_were_alone(model):
    """The package wraps BERT in ways newer versions of transformers have broken: compare with BERT itself."""
    bert = model.bert
    alone = BertModel(BERT, add_pooling_layer=False).eval()
    alone.load_state_dict({k: v for k, v in bert.state_dict().items() if not k.startswith("pooler")})
    states = []
    hook = model.feat_map.register_forward_hook(lambda module, inputs, output: states.append(inputs[0][0]))
    GroundingDino(model, PROMPTS, **OPEN)(images(1))
    hook.remove()
    pieces = torch.tensor([model.tokenizer.convert_tokens_to_ids(["hand", "and", "fore", "##arm", "."])])
    with torch.inference_mode():
        torch.testing.assert_close(states[0][3:8], alone(pieces).last_hidden_state[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("prompts", [("hand", ""), ("hand.", "arm"), ("hand", "arm?"), ("hand", "arm " * 300)])
def test_prompts_that_cannot_be_told_apart_are_refused(model, prompts):
    with pytest.raises(ConfigError, match="prompts"):
        GroundingDino(model, prompts, **OPEN)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_layout_of_a_checkpoint_is_read(build, model, tmp_path, prefix):
    state = {prefix + name: values for name, values in build(1).state_dict().items()}
    state |= {prefix + "label_enc.weight": torch.zeros(2, 2), prefix + "bert.embeddings.position_ids": torch.arange(9)}
    torch.save({"model": state}, tmp_path / "weights.pth")
    other = build(2)
    load_weights(other, tmp_path / "weights.pth")
    expected = GroundingDino(build(1), PROMPTS, **OPEN)(images(1))[0]
    same(GroundingDino(other, PROMPTS, **OPEN)(images(1))[0], expected)


class Unexpected:
    """Something a checkpoint must not hold."""


def test_other_checkpoints_are_refused(build, model, tmp_path):
    path = tmp_path / "weights.pth"
    state = model.state_dict()
    name = next(iter(state))
    lacking = {key: values for key, values in state.items() if key != name}
    wrong = [
        ({"model": lacking}, "not this Grounding DINO"),
        ({"model": {**state, "more.weight": torch.zeros(1)}}, "more.weight"),
        ({"model": {**state, name: torch.zeros(1)}}, "not this Grounding DINO"),
        (state, "not a checkpoint"),
        ([1], "not a checkpoint"),
        ({"model": Unexpected()}, "not a checkpoint"),
    ]
    for content, message in wrong:
        torch.save(content, path)
        with pytest.raises(CorruptFileError, match=message):
            load_weights(build(), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptFileError, match="not a checkpoint"):
        load_weights(model, path)


def test_the_network_is_never_asked_and_missing_files_are_named(build, vocab, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(GroundingDino(build(), PROMPTS, **OPEN)(images(1))[0].boxes) > 3
    with pytest.raises(MissingAssetError, match=r"vocab\.txt: no vocabulary.*\n.*doctor"):
        load_grounding_dino(tmp_path / "weights.pth", tmp_path / "vocab.txt")
    with pytest.raises(MissingAssetError, match=r"weights\.pth: no Grounding DINO weights"):
        load_weights(torch.nn.Identity(), tmp_path / "weights.pth")
    with pytest.raises(CorruptFileError, match="has 13 words, the text encoder 30522"):
        load_grounding_dino(tmp_path / "weights.pth", vocab)
