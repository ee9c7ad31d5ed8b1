"""Text-prompted boxes from Grounding DINO (Liu et al., ECCV 2024), SwinT-OGC, as groundingdino-py builds it.

Nothing is downloaded: the checkpoint holds the fine-tuned BERT too, so that of the text encoder only `vocab.txt` of
bert-base-uncased must be there. The package runs its deformable attention in PyTorch; there is no compiled operator.
"""

import pickle
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.ops import batched_nms, box_convert
from torchvision.transforms import functional as TF
from transformers import BertConfig, BertModel, BertTokenizer

from handgap.core.errors import ConfigError, CorruptFileError, MissingAssetError
from handgap.segment.detect import SAME, Detections

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports timm by the names of older versions
    from groundingdino.config import GroundingDINO_SwinT_OGC
    from groundingdino.datasets import transforms
    from groundingdino.models import build_model
    from groundingdino.util import get_tokenlizer
    from groundingdino.util.misc import NestedTensor, clean_state_dict

CURE = "`handgap doctor` says where to get it"
UNUSED = {"label_enc.weight", "bert.embeddings.position_ids"}  # of training, and of older versions of transformers
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ASPECT = 1333 / 800  # longest side over shortest, in the scaling it was trained with
LEAST = 256  # px; on a smaller canvas there are fewer places than queries


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's warnings: it calls torch and transformers in ways that will go, and the lock has kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="torch.meshgrid")
        yield


@contextmanager
def _text_encoder(tokenizer: BertTokenizer, bert: BertModel) -> Iterator[None]:
    """The package's model fetches both by name while it is built; here it is given them."""
    original = get_tokenlizer.get_tokenlizer, get_tokenlizer.get_pretrained_language_model
    given = (lambda name: tokenizer), (lambda name: bert)
    get_tokenlizer.get_tokenlizer, get_tokenlizer.get_pretrained_language_model = given
    try:
        yield
    finally:
        get_tokenlizer.get_tokenlizer, get_tokenlizer.get_pretrained_language_model = original


def build_grounding_dino(vocab: Path, bert: BertConfig | None = None, **changes: object) -> nn.Module:
    """Grounding DINO's layers, randomly initialised.

    Args:
        vocab: `vocab.txt` of the text encoder, one word piece a line.
        bert: sizes of the text encoder; None = those of bert-base-uncased.
        changes: to the package's own SwinT-OGC settings.

    Raises:
        MissingAssetError: there is no vocabulary.
        CorruptFileError: it has another number of words than the text encoder.
    """
    if not vocab.is_file():
        raise MissingAssetError(vocab, "no vocabulary of Grounding DINO's text encoder", CURE)
    tokenizer, bert = BertTokenizer(str(vocab)), bert or BertConfig()
    if tokenizer.vocab_size != bert.vocab_size:
        problem = f"has {tokenizer.vocab_size} words, the text encoder {bert.vocab_size}"
        raise CorruptFileError(vocab, problem, f"get it anew: {CURE}")
    settings = {name: value for name, value in vars(GroundingDINO_SwinT_OGC).items() if not name.startswith("_")}
    # gradient checkpoints are for training
    settings |= {"use_checkpoint": False, "use_transformer_ckpt": False, **changes}
    with _quiet(), _text_encoder(tokenizer, BertModel(bert)):
        return build_model(SimpleNamespace(**settings)).eval()


def load_weights(model: nn.Module, weights: Path) -> None:
    """Fill a model with the weights of its checkpoint, each of them.

    Raises:
        MissingAssetError: no such file.
        CorruptFileError: it is truncated, or not a checkpoint of this model.
    """
    if not weights.is_file():
        raise MissingAssetError(weights, "no Grounding DINO weights", CURE)
    try:
        state = clean_state_dict(torch.load(weights, weights_only=True, map_location="cpu")["model"])
        found = {name: value.shape for name, value in state.items() if name not in UNUSED}
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise CorruptFileError(weights, f"not a checkpoint of weights ({error})", f"get it anew: {CURE}") from error
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    if wrong := sorted({*found.items()} ^ {*wanted.items()}):
        problem = f"not this Grounding DINO's weights: '{wrong[0][0]}' and {len(wrong) - 1} others differ"
        raise CorruptFileError(weights, problem, f"get the checkpoint of SwinT-OGC: {CURE}")
    model.load_state_dict({name: state[name] for name in wanted})


def load_grounding_dino(weights: Path, vocab: Path) -> nn.Module:
    """SwinT-OGC with its published weights; errors as `build_grounding_dino` and `load_weights`."""
    model = build_grounding_dino(vocab)
    load_weights(model, weights)
    return model


class GroundingDino:
    """Grounding DINO as a `detect.Detector`.

    As in the package's demo, a box is kept for a prompt when the prompt's best word passes the box threshold, and the
    words above the text threshold are those it matches. As in its COCO evaluation, its score is the mean over the
    prompt's words, those it does not match counting as 0, by which a box of hand and arm outdoes one of the hand alone.
    Images are scaled as there; those of one size run as a batch, so that no answer depends on the images around it.

    Args:
        model: from `load_grounding_dino`.
        prompts: texts, all asked in one pass.
        box_threshold: for the best word, 0..1.
        text_threshold: for a word to count, 0..1; a box without any is dropped.
        short_side: px the image's shorter edge is scaled to (trained at up to 800); the longer stays below 5/3 of it.

    Raises:
        ConfigError: a prompt is empty, holds a full stop or question mark, or all together are too long.
    """

    def __init__(
        self, model: nn.Module, prompts: Sequence[str], *, box_threshold: float, text_threshold: float, short_side: int
    ):
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device)
        self._box_threshold, self._text_threshold = box_threshold, text_threshold
        self._short_side = short_side
        words = [model.tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        ends = np.cumsum([1, *(len(prompt) + 1 for prompt in words)])  # [CLS], then each prompt and its full stop
        self._spans = [slice(start, stop - 1) for start, stop in pairwise(ends)]
        separators = set(model.specical_tokens)
        if not all(prompt and separators.isdisjoint(prompt) for prompt in words) or ends[-1] >= model.max_text_len:
            problem = "must be texts without full stop or question mark, a few words each"
            raise ConfigError("prompts", f"{list(prompts)} {problem}", "mend the study's segment.prompts")
        self._caption = " . ".join(prompts) + " ."

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """See `detect.Detector`."""
        same = defaultdict(list)
        for index, image in enumerate(images):
            same[image.shape].append(index)
        found = {}
        for indices in same.values():
            found |= zip(indices, self._batch([images[index] for index in indices]), strict=True)
        return [found[index] for index in range(len(images))]

    @torch.inference_mode()
    def _batch(self, images: list[np.ndarray]) -> list[Detections]:
        """Detections of images (H, W, 3) of one size."""
        height, width = images[0].shape[:2]
        with _quiet():
            answers = self._model(self._canvas(images), captions=[self._caption] * len(images))
        boxes = box_convert(answers["pred_boxes"], "cxcywh", "xyxy").clamp(0.0, 1.0).cpu().double()
        boxes = boxes * torch.tensor([width, height, width, height])
        words = answers["pred_logits"].sigmoid().cpu().double()
        return [self._read(*answer) for answer in zip(boxes, words, strict=True)]

    def _canvas(self, images: list[np.ndarray]) -> NestedTensor:
        """Images scaled and normalised as the package's demo does, in the corner of a canvas of at least 256 px."""
        longest = round(self._short_side * ASPECT)
        scaled = [transforms.resize(Image.fromarray(image), None, self._short_side, longest)[0] for image in images]
        pixels = torch.stack([TF.normalize(TF.to_tensor(image), MEAN, STD) for image in scaled]).to(self._device)
        batch, _, height, width = pixels.shape
        padding = (0, max(0, LEAST - width), 0, max(0, LEAST - height))
        outside = torch.zeros(batch, height, width, dtype=torch.bool, device=self._device)
        return NestedTensor(nn.functional.pad(pixels, padding), nn.functional.pad(outside, padding, value=True))

    def _read(self, boxes: torch.Tensor, words: torch.Tensor) -> Detections:
        """Detections from boxes (Q, 4) px and the probability (Q, T) of each word."""
        prompts, queries, scores = [], [], []
        for prompt, span in enumerate(self._spans):
            asked = words[:, span]
            kept = torch.nonzero(asked.amax(1) > max(self._box_threshold, self._text_threshold))[:, 0]
            prompts.append(torch.full_like(kept, prompt))
            queries.append(kept)
            scores.append((asked * (asked > self._text_threshold))[kept].mean(1))
        prompts, queries, scores = torch.cat(prompts), torch.cat(queries), torch.cat(scores)
        distinct = batched_nms(boxes[queries], scores, prompts, SAME)
        prompts, queries, scores = prompts[distinct], queries[distinct], scores[distinct]
        return Detections(boxes[queries].numpy(), scores.numpy(), prompts.numpy())
