"""Segment Anything (Kirillov et al., ICCV 2023) with MobileSAM's TinyViT encoder (Zhang et al., 2023)."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

from handgap.core.errors import CorruptFileError, MissingAssetError

with warnings.catch_warnings():
    # its TinyViT registers variants under names that timm has too, through modules timm has moved
    warnings.simplefilter("ignore")
    from mobile_sam.modeling import MaskDecoder, PromptEncoder, Sam, TinyViT, TwoWayTransformer

PATCH = 16  # px of the encoder's input per cell of the embedding
EMBEDDING = 256
PADDING = -1  # label of a point that is none


@dataclass(frozen=True)
class Prompts:
    """What to segment in one image, Q questions at once.

    Attributes:
        boxes: (Q, 4) left, top, right, bottom in px, or None to ask by points alone.
        points: (Q, P, 2) px.
        labels: (Q, P) 1 = on the thing, 0 = off it, -1 = no point.
    """

    boxes: np.ndarray | None
    points: np.ndarray
    labels: np.ndarray


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


class _Encoder(TinyViT):
    """TinyViT at any input size: its weights do not depend on it, only upstream's last reshape does."""

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patch_embed(images)
        for layer in self.layers:
            tokens = layer(tokens)
        batch, _, channels = tokens.shape
        side = self.img_size // PATCH
        return self.neck(tokens.view(batch, side, side, channels).permute(0, 3, 1, 2))


def build_mobile_sam(input_size: int) -> Sam:
    """MobileSAM's layers for square inputs of `input_size` px (trained at 1024), randomly initialised."""
    side = input_size // PATCH
    encoder = _Encoder(
        img_size=input_size,
        embed_dims=[64, 128, 160, 320],
        depths=[2, 2, 6, 2],
        num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7],
        drop_path_rate=0.0,
    )
    prompt_encoder = PromptEncoder(
        embed_dim=EMBEDDING,
        image_embedding_size=(side, side),
        input_image_size=(input_size, input_size),
        mask_in_chans=16,
    )
    decoder = MaskDecoder(
        transformer_dim=EMBEDDING,
        transformer=TwoWayTransformer(depth=2, embedding_dim=EMBEDDING, num_heads=8, mlp_dim=2048),
    )
    return Sam(encoder, prompt_encoder, decoder).eval()


class MobileSam:
    """MobileSAM as a `Segmenter`.

    Args:
        weights: `mobile_sam.pt`.
        input_size: px, the image's longer edge is scaled to it; a multiple of 64.

    Raises:
        MissingAssetError: no such file.
        CorruptFileError: the file holds other weights.
    """

    def __init__(self, weights: Path, input_size: int):
        if not weights.exists():
            raise MissingAssetError(weights, "no MobileSAM weights", "snakemake results/assets/mobilesam/asset.json")
        self._size = input_size
        self._model = build_mobile_sam(input_size)
        try:
            self._model.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        except (RuntimeError, EOFError, OSError) as error:
            raise CorruptFileError(
                weights, f"not MobileSAM's weights ({error})", "delete it and fetch it anew"
            ) from error
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.to(self._device)

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._device)

    def _scale(self, height: int, width: int) -> float:
        return self._size / max(height, width)

    @torch.inference_mode()
    def embed(self, images: np.ndarray) -> torch.Tensor:
        """See `Segmenter`; bfloat16 inside, float32 (B, 256, S / 16, S / 16) out."""
        pixels = torch.tensor(images, device=self._device).permute(0, 3, 1, 2).float()
        height, width = pixels.shape[2:]
        scale = self._scale(height, width)
        scaled = (round(height * scale), round(width * scale))
        pixels = F.interpolate(pixels, scaled, mode="bilinear", antialias=True)
        pixels = (pixels - self._model.pixel_mean) / self._model.pixel_std
        pixels = F.pad(pixels, (0, self._size - scaled[1], 0, self._size - scaled[0]))
        with torch.autocast(self._device.type, torch.bfloat16):
            return self._model.image_encoder(pixels).float()

    @torch.inference_mode()
    def decode(self, embedding: torch.Tensor, size: tuple[int, int], prompts: Prompts) -> tuple[np.ndarray, np.ndarray]:
        """See `Segmenter`; M = 3, SAM's whole, part and subpart."""
        height, width = size
        scale = self._scale(height, width)
        # SAM adds half a pixel to its prompts; ours count from the pixel's edge
        boxes = None if prompts.boxes is None else self._tensor(prompts.boxes * scale - 0.5)
        points = (self._tensor(prompts.points * scale - 0.5), self._tensor(prompts.labels))
        sparse, dense = self._model.prompt_encoder(points, boxes, None)
        logits, quality = self._model.mask_decoder(
            image_embeddings=embedding[None],
            image_pe=self._model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        cells = logits.shape[-1] * scale / self._size
        logits = logits[..., : round(height * cells), : round(width * cells)]
        logits = F.interpolate(logits, (height, width), mode="bilinear")
        return logits.cpu().numpy(), quality.cpu().numpy()
