"""Segment Anything as a `Segmenter`: one pass over the image, then any number of questions."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch.nn import functional as F

from handgap.core.config.segment import SEGMENTERS, Segment
from handgap.core.errors import CorruptFileError, MissingAssetError
from handgap.segment.sam_layers import build_sam

PADDING = -1  # label of a point that is none


@dataclass(frozen=True)
class Prompts:
    """What to segment in one image, Q questions at once.

    Attributes:
        boxes: (Q, 4) left, top, right, bottom in px, or None to ask by points alone.
        points: (Q, P, 2) px, or None to ask by boxes alone.
        labels: (Q, P) 1 = on the thing, 0 = off it, -1 = no point; None without points.
    """

    boxes: np.ndarray | None
    points: np.ndarray | None
    labels: np.ndarray | None


class Segmenter(Protocol):
    """Anything that answers prompts: one pass over the image, any number of questions after it."""

    def embed(self, images: np.ndarray) -> torch.Tensor:
        """Images (B, H, W, 3) uint8 of one size -> embeddings, the batch first."""

    def decode(self, embedding: torch.Tensor, size: tuple[int, int], prompts: Prompts) -> tuple[np.ndarray, np.ndarray]:
        """Candidate masks of one image.

        Args:
            embedding: of this image, without the batch axis.
            size: (H, W) of the image.
            prompts: Q questions.

        Returns:
            Logits (Q, M, H, W) float32, > 0 inside; the model's own estimates (Q, M) of each mask's IoU.
        """


class SamSegmenter:
    """Segment Anything as a `Segmenter`, on the GPU if there is one.

    Args:
        model: its layers; square inputs of `model.image_encoder.img_size` px, the image's longer edge is scaled to it.
        multimask: three candidates a question (whole, part, subpart) rather than one.
    """

    def __init__(self, model: Sam, *, multimask: bool = True):
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()
        self._size: int = model.image_encoder.img_size
        self._multimask = multimask

    @classmethod
    def load(cls, weights: Path, settings: Segment) -> Self:
        """The settings' model with released weights.

        Raises:
            MissingAssetError: no such file.
            CorruptFileError: the file holds other weights.
        """
        asset = SEGMENTERS[settings.segmenter]
        if not weights.is_file():
            raise MissingAssetError(weights, f"no weights of {settings.segmenter}", asset.cure)
        model = build_sam(settings.segmenter, settings.input_size)
        try:
            model.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        except (
            pickle.UnpicklingError,
            RuntimeError,
            EOFError,
            OSError,
            LookupError,
            TypeError,
            AttributeError,
        ) as error:
            problem = f"not the weights of {settings.segmenter} ({str(error).partition(chr(10))[0] or 'cut off'})"
            cure = f"pass {settings.segmenter}'s file, or the --segmenter it is for; if it is a broken download"
            raise CorruptFileError(weights, problem, f"{cure}, get it anew ({asset.cure})") from error
        return cls(model, multimask=settings.multimask)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._device)

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        """Size in the model's input."""
        scale = self._size / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    @torch.inference_mode()
    def embed(self, images: np.ndarray) -> torch.Tensor:
        """See `Segmenter`; bfloat16 inside, float32 (B, 256, S / 16, S / 16) out."""
        pixels = torch.tensor(images, device=self._device).permute(0, 3, 1, 2).float()
        height, width = self._scaled(*pixels.shape[2:])
        pixels = F.interpolate(pixels, (height, width), mode="bilinear", antialias=True)
        pixels = (pixels - self._model.pixel_mean) / self._model.pixel_std
        pixels = F.pad(pixels, (0, self._size - width, 0, self._size - height))
        with torch.autocast(self._device.type, torch.bfloat16):
            return self._model.image_encoder(pixels).float()

    @torch.inference_mode()
    def decode(self, embedding: torch.Tensor, size: tuple[int, int], prompts: Prompts) -> tuple[np.ndarray, np.ndarray]:
        """See `Segmenter`; M = 3, SAM's whole, part and subpart, or 1."""
        scaled = self._scaled(*size)
        scale = np.array([scaled[1] / size[1], scaled[0] / size[0]])
        # SAM adds half a pixel to its prompts; ours count from the pixel's edge
        boxes = None if prompts.boxes is None else self._tensor(prompts.boxes * np.tile(scale, 2) - 0.5)
        points = None
        if prompts.points is not None:
            points = (self._tensor(prompts.points * scale - 0.5), self._tensor(prompts.labels))
        sparse, dense = self._model.prompt_encoder(points, boxes, None)
        logits, quality = self._model.mask_decoder(
            image_embeddings=embedding[None],
            image_pe=self._model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=self._multimask,
        )
        return self._at_pixels(logits, size, scaled).cpu().numpy(), quality.cpu().numpy()

    def _at_pixels(self, logits: torch.Tensor, size: tuple[int, int], scaled: tuple[int, int]) -> torch.Tensor:
        """Logits (Q, M, h, w) of the padded input, sampled at the image's pixel centres (Q, M, H, W)."""
        ys, xs = (
            (torch.arange(count, device=self._device) + 0.5) * (2.0 * inside / (count * self._size)) - 1.0
            for count, inside in zip(size, scaled, strict=True)
        )
        grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], -1)
        stacked = logits.flatten(0, 1)[None]
        sampled = F.grid_sample(stacked, grid[None], mode="bilinear", padding_mode="border", align_corners=False)
        return sampled.view(*logits.shape[:2], *size)
