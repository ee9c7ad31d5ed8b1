import numpy as np
import pytest
import torch
from handgap.networks.spiral import (
    InceptionSpiral,
    LatentAttention,
    SpiralConv,
    SpiralDecoder,
    upsample,
)


def spirals_of(vertices, length):
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randperm(vertices, generator=generator)[:length] for _ in range(vertices)])


def test_spiral_convolution_by_hand():
    torch.manual_seed(0)
    conv, features, spirals = SpiralConv(3, 2, 4), torch.randn(10, 2, 3), spirals_of(10, 6)
    out = conv(features, spirals)
    for sample in range(2):
        for vertex in range(10):
            row = torch.cat([features[spirals[vertex, k], sample] for k in range(4)])
            torch.testing.assert_close(out[vertex, sample], conv.linear.weight @ row + conv.linear.bias)


@pytest.mark.parametrize("conv", [SpiralConv(5, 8, 6), InceptionSpiral(5, 8, 6)], ids=["plain", "inception"])
def test_spiral_convolution_does_not_depend_on_the_numbering(conv):
    features, spirals = torch.randn(30, 2, 5), spirals_of(30, 6)
    old_of_new = torch.randperm(30, generator=torch.Generator().manual_seed(3))
    new_of_old = old_of_new.argsort()
    renumbered = conv(features[old_of_new], new_of_old[spirals[old_of_new]])
    torch.testing.assert_close(renumbered, conv(features, spirals)[old_of_new])


def test_inception_by_hand():
    torch.manual_seed(0)
    block, features, spirals = InceptionSpiral(4, 8, 9), torch.randn(20, 2, 4), spirals_of(20, 9)
    widths = [conv.linear.weight.shape for conv in (block.vertex, *block.around)]
    assert widths == [(8, 4), (4, 36), (2, 24), (2, 12)]
    neighbours = features[spirals].transpose(1, 2)  # (N, B, length, channels)
    around = torch.cat(
        [conv.linear(neighbours[:, :, :n].flatten(2)) for conv, n in zip(block.around, (9, 6, 3), strict=True)], -1
    )
    expected = (block.vertex.linear(neighbours[:, :, 0]) + around).clamp_min(0)
    torch.testing.assert_close(block(features, spirals), expected)


def test_upsampling_is_the_links_matrix(hierarchy):
    link = hierarchy.links[1]
    coarse = np.random.default_rng(0).normal(size=(2, 195, 4))
    fine = upsample(torch.tensor(coarse).transpose(0, 1), torch.tensor(link.up_vertices), torch.tensor(link.up_weights))
    expected = np.stack([link.up_matrix() @ sample for sample in coarse])
    np.testing.assert_allclose(fine.transpose(0, 1).numpy(), expected, atol=1e-12)


def test_attention_among_entries_by_hand():
    torch.manual_seed(0)
    attention, latent = LatentAttention(6), torch.randn(2, 6)
    torch.testing.assert_close(attention(latent), latent)  # gamma starts at zero
    attention.gamma.data.fill_(0.7)
    query, key, value = (part(latent) for part in (attention.query, attention.key, attention.value))
    for sample in range(2):
        affinity = torch.outer(query[sample], key[sample]).softmax(1)
        torch.testing.assert_close(attention(latent)[sample], latent[sample] + 0.7 * affinity @ value[sample])


def test_each_level_is_averaged_with_the_one_before(hierarchy):
    decoder = SpiralDecoder(10, (8, 8, 4, 4), 9, hierarchy, attention=False)
    for level, head in enumerate(decoder.heads):
        head.linear.weight.data.zero_()
        head.linear.bias.data = torch.tensor([level, 1.0, -level])
    meshes = decoder(torch.randn(2, 10))
    assert [mesh.shape[1] for mesh in meshes] == [98, 195, 389, 778]
    expected = torch.tensor([0.0, 1.0, 0.0])
    for level, mesh in enumerate(meshes):
        if level:
            expected = (torch.tensor([level, 1.0, -level]) + expected) / 2
        torch.testing.assert_close(mesh, expected.expand_as(mesh))


def test_parameters_of_the_published_decoder(hierarchy):
    decoder = SpiralDecoder(1000, (512, 256, 128, 64), 27, hierarchy, attention=True)
    assert sum(value.numel() for value in decoder.parameters()) == 37_450_581  # 37.45 M
    assert sum(value.numel() for value in decoder.attention.parameters()) == 3_003_001
    assert not decoder.state_dict().keys() & {"spirals0", "indices0", "weights0"}
