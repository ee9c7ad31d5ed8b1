"""Layers of Segment Anything (Kirillov et al., ICCV 2023) around a ViT, or MobileSAM's TinyViT (Zhang et al., 2023).

Prompt encoder and mask decoder are the same in all; only the image encoder differs.
"""

import warnings
from dataclasses import dataclass
from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

with warnings.catch_warnings():
    # it registers variants under names that timm has too, through modules timm has moved
    warnings.simplefilter("ignore")
    from mobile_sam.modeling import TinyViT

PATCH = 16  # px of the encoder's input per cell of the embedding
EMBEDDING = 256


@dataclass(frozen=True)
class Vit:
    """Size of a ViT encoder: channels, blocks, heads, and the blocks that attend to the whole image."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]


VITS = {
    "vit_b": Vit(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": Vit(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": Vit(1280, 32, 16, (7, 15, 23, 31)),
}


class _AnySizeTinyViT(TinyViT):
    """TinyViT at any input size: its weights do not depend on it, only upstream's last reshape does."""

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.patch_embed(images)
        for layer in self.layers:
            tokens = layer(tokens)
        batch, _, channels = tokens.shape
        side = self.img_size // PATCH
        return self.neck(tokens.view(batch, side, side, channels).permute(0, 3, 1, 2))


def tiny_vit(input_size: int) -> nn.Module:
    """MobileSAM's image encoder for square inputs of `input_size` px, a multiple of 64 (trained at 1024)."""
    return _AnySizeTinyViT(
        img_size=input_size,
        embed_dims=[64, 128, 160, 320],
        depths=[2, 2, 6, 2],
        num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7],
        drop_path_rate=0.0,
    )


def vit(size: Vit, input_size: int) -> nn.Module:
    """SAM's image encoder; its position embedding belongs to `input_size` (1024 for the released weights)."""
    return ImageEncoderViT(
        img_size=input_size,
        patch_size=PATCH,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        out_chans=EMBEDDING,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        global_attn_indexes=size.global_blocks,
        window_size=14,
    )


def around(encoder: nn.Module) -> Sam:
    """Prompt encoder and mask decoder, randomly initialised, around an image encoder."""
    side = encoder.img_size // PATCH
    prompt_encoder = PromptEncoder(
        embed_dim=EMBEDDING,
        image_embedding_size=(side, side),
        input_image_size=(encoder.img_size, encoder.img_size),
        mask_in_chans=16,
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=EMBEDDING, num_heads=8, mlp_dim=2048)
    return Sam(encoder, prompt_encoder, MaskDecoder(transformer_dim=EMBEDDING, transformer=transformer)).eval()


def build_sam(name: str, input_size: int) -> Sam:
    """The layers of "mobilesam", "vit_b", "vit_l" or "vit_h", randomly initialised."""
    return around(tiny_vit(input_size) if name == "mobilesam" else vit(VITS[name], input_size))
