"""Transformer encoder of METRO and MeshGraphormer (Lin et al., CVPR and ICCV 2021): BERT layers, ever narrower."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPS = 1e-12
# of weights and position embedding at the start: BERT's deviation, and the narrowest layers that it suits
START_STD, START_WIDTH = 0.02, 1024
POSITIONS = 512  # slots of the position embedding, BERT's


def linear(channels: int, out: int, widest: int = START_WIDTH) -> nn.Linear:
    """A linear layer as BERT starts it, no bias; weights are larger for fewer channels than `widest`."""
    layer = nn.Linear(channels, out)
    nn.init.normal_(layer.weight, std=START_STD * max(1.0, widest / channels) ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer


class BertLayer(nn.Module):
    """Attention, then a feed-forward part; after each, dropout, residual and norm (Devlin et al., NAACL 2019).

    Args:
        width: of the tokens.
        heads: of the attention.
        ffn: width of the feed-forward part, as a multiple of `width`.
        dropout: probability, of attention and of what either part gives.
        between: what the tokens go through between the two parts.
    """

    def __init__(self, width: int, heads: int, ffn: int, dropout: float, between: nn.Module):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.mixed = (linear(width, width) for _ in range(4))
        self.norm_attention, self.norm_ffn = (nn.LayerNorm(width, eps=NORM_EPS) for _ in range(2))
        self.between = between
        self.ffn = nn.Sequential(linear(width, ffn * width), nn.GELU(), linear(ffn * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T, width) -> the same shape."""
        split = [
            part(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        ]
        dropout = self.dropout.p if self.training else 0.0
        attended = functional.scaled_dot_product_attention(*split, dropout_p=dropout).transpose(1, 2).flatten(2)
        tokens = self.between(self.norm_attention(tokens + self.dropout(self.mixed(attended))))
        return self.norm_ffn(tokens + self.dropout(self.ffn(tokens)))


class EncoderBlock(nn.Module):
    """Tokens to the block's width, position embedding, BERT layers, output; plus a linear map of what came in.

    Args:
        channels, width, out: of the tokens that come in, inside, that go out.
        layers, heads, ffn, dropout: see `BertLayer`; the tokens inside are dropped out too.
        n_tokens: how many there are.
        between: makes what stands between attention and feed-forward part of a layer.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        out: int,
        *,
        layers: int,
        heads: int,
        ffn: int,
        dropout: float,
        n_tokens: int,
        between: Callable[[], nn.Module],
    ):
        super().__init__()
        self.narrow = linear(channels, width)
        self.position = nn.Parameter(torch.empty(max(POSITIONS, n_tokens), width).normal_(std=START_STD))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(BertLayer(width, heads, ffn, dropout, between()) for _ in range(layers)))
        # small, whatever the width: the last ones give coordinates, which are tenths of a metre
        self.out, self.shortcut = linear(width, out, width), linear(channels, out, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, channels) -> (B, T, out)."""
        inside = self.dropout(self.narrow(tokens) + self.position[: tokens.shape[1]])
        return self.out(self.layers(inside)) + self.shortcut(tokens)


def encoder(
    channels: int,
    widths: Sequence[int],
    *,
    layers: int,
    heads: int,
    ffn: int,
    dropout: float,
    n_tokens: int,
    last_between: Callable[[], nn.Module] = nn.Identity,
) -> nn.Sequential:
    """Blocks of the widths given, each of which gives half its width to the next, the last one coordinates.

    Args:
        channels: width of the tokens that come in.
        widths: of the blocks.
        layers, heads, ffn, dropout, n_tokens: of each block, see `EncoderBlock`.
        last_between: `between` of the last block; the others have nothing there.
    """
    outs = [*(width // 2 for width in widths[:-1]), 3]
    blocks = []
    for index, (into, width, out) in enumerate(zip([channels, *outs], widths, outs, strict=False)):
        between = last_between if index == len(widths) - 1 else nn.Identity
        sizes = {"layers": layers, "heads": heads, "ffn": ffn, "dropout": dropout, "n_tokens": n_tokens}
        blocks.append(EncoderBlock(into, width, out, **sizes, between=between))
    return nn.Sequential(*blocks)


def mask_tokens(tokens: Tensor, groups: Sequence[int], share: float, filler: float) -> Tensor:
    """Masked vertex modelling: hide a random number of tokens of each group, up to a share of it.

    Per sample and group of N tokens, p ~ U(0, 1) and int(p share N) tokens, chosen evenly, become the filler.

    Args:
        tokens: (B, T, C).
        groups: sizes of consecutive groups, T in all.
        share: largest share hidden, in [0, 1].
        filler: what hidden tokens hold.
    """
    hidden = []
    for size in groups:
        count = (torch.rand(len(tokens), 1, device=tokens.device) * share * size).floor()
        rank = torch.rand(len(tokens), size, device=tokens.device).argsort(1).argsort(1)
        hidden.append(rank < count)
    return tokens.masked_fill(torch.cat(hidden, 1)[..., None], filler)
