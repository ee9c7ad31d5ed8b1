import pytest
import timm
import torch
from handgap.core.config.networks import GraphormerNetwork, MetroNetwork, TransformerWeights
from handgap.networks.backbone import Backbone
from handgap.networks.base import Prediction
from handgap.networks.graphormer import Graphormer, GraphResidual
from handgap.networks.metro import Metro, weak_perspective
from handgap.networks.transformer import BertLayer, encoder, mask_tokens


class Wide(torch.nn.Module):
    """Stands in for HRNet-W64: only its widths are read."""

    channels, narrow_channels, grid = 2048, 1024, 7


def count(*modules):
    return sum(value.numel() for module in modules for value in module.parameters())


def test_parameters_of_metro(hand, hierarchy):
    network = Metro(Wide(), hand, hierarchy, MetroNetwork())
    # 101,182,022 in the released code, of which 42,834,624 are word embeddings and poolers that nothing reads
    assert count(network.encoder) == 101_182_022 - 42_834_624 == 58_347_398
    assert count(network) - count(network.encoder) == 185_495  # camera 33,007 and upsampling 152,488


def test_parameters_of_graphormer(hand, hierarchy):
    network = Graphormer(Wide(), hand, hierarchy, GraphormerNetwork())
    # 83,318,598 less the same 42,834,624, and less a 64 x 64 layer in each of four graph blocks that nothing reads
    assert count(network.encoder) == 83_318_598 - 42_834_624 - 4 * (64 * 64 + 64) == 40_467_334
    assert count(network.grid) == 1024 * 2051 + 2051
    assert count(network.camera_tokens, network.camera, network.upsample) == 185_495


def test_layer_is_pytorchs_post_norm_layer():
    torch.manual_seed(0)
    layer = BertLayer(16, 4, 2, 0.1, torch.nn.Identity()).eval()
    reference = torch.nn.TransformerEncoderLayer(16, 4, 32, 0.1, "gelu", 1e-12, batch_first=True).eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    parts = [layer.query, layer.key, layer.value]
    with torch.no_grad():
        reference.self_attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        reference.self_attn.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    same = [(reference.self_attn.out_proj, layer.mixed), (reference.linear1, layer.ffn[0])]
    same += [
        (reference.linear2, layer.ffn[2]),
        (reference.norm1, layer.norm_attention),
        (reference.norm2, layer.norm_ffn),
    ]
    for theirs, ours in same:
        theirs.load_state_dict(ours.state_dict())
    tokens = torch.randn(2, 7, 16)
    torch.testing.assert_close(layer(tokens), reference(tokens), atol=1e-5, rtol=1e-5)


def test_encoder_blocks_hand_on_half_their_width():
    blocks = encoder(2051, (64, 32, 16), layers=1, heads=4, ffn=2, dropout=0.1, n_tokens=600)
    assert [(block.narrow.in_features, block.out.out_features) for block in blocks] == [(2051, 32), (32, 16), (16, 3)]
    assert blocks(torch.randn(1, 600, 2051)).shape == (1, 600, 3)  # more tokens than BERT has positions
    assert blocks[0].narrow.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_graph_block_by_hand_and_on_vertices_only():
    torch.manual_seed(0)
    adjacency = torch.rand(5, 5)
    block = GraphResidual(8, adjacency, 3)
    tokens = torch.randn(2, 12, 8)
    torch.testing.assert_close(block(tokens), tokens, atol=0.5, rtol=0)  # near the identity at the start
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    out = block(tokens)
    assert torch.equal(out[:, :3], tokens[:, :3])
    assert torch.equal(out[:, 8:], tokens[:, 8:])
    x = tokens[0, 3:8]
    y = block.norms[1](block.narrow(block.norms[0](x).relu())).relu()
    y = adjacency @ (y @ block.convolution.weight.T) + block.convolution.bias
    torch.testing.assert_close(out[0, 3:8], x + block.widen(block.norms[2](y).relu()), atol=1e-5, rtol=1e-4)


def test_graph_stands_in_the_last_block_only(hand, hierarchy):
    network = Graphormer(Wide(), hand, hierarchy, GraphormerNetwork(widths=(16, 8), layers=2))
    kinds = [[type(layer.between).__name__ for layer in block.layers] for block in network.encoder]
    assert kinds == [["Identity"] * 2, ["GraphResidual"] * 2]
    torch.testing.assert_close(
        network.encoder[1].layers[0].between.adjacency.numpy(),
        hierarchy.levels[2].adjacency.toarray().astype("float32"),
    )


def test_tokens_are_template_and_image(hand, hierarchy):
    network = Graphormer(Wide(), hand, hierarchy, GraphormerNetwork(widths=(16, 8), layers=1, masked=1.0)).eval()
    features = {"features": torch.randn(2, 2048, 7, 7), "grid": torch.randn(2, 1024, 7, 7)}
    tokens = network.tokens(features)
    assert tokens.shape == (2, 21 + 195 + 49, 2051)
    torch.testing.assert_close(tokens[1, 100, 3:], features["features"][1].mean((1, 2)))
    torch.testing.assert_close(tokens[1, 216 + 10], network.grid(features["grid"][1, :, 1, 3]))
    rest = hand(
        hand.hands_mean.new_zeros(1, 48).index_put((torch.tensor(0), torch.arange(3, 48)), hand.hands_mean),
        torch.zeros(1, 10),
        torch.zeros(1, 3),
    )
    joints = hand.regress_joints(rest.vertices)
    points, vertices = 100 * (joints - joints[:, :1])[0], 100 * (rest.vertices - joints[:, :1])[0]  # cm
    torch.testing.assert_close(tokens[0, :21, :3], points)
    torch.testing.assert_close(tokens[0, 21:216, :3], vertices[hierarchy.levels[2].ids])


def test_narrow_layers_start_larger_and_coordinates_small():
    blocks = encoder(2051, (1024, 64), layers=1, heads=4, ffn=4, dropout=0.1, n_tokens=8)
    wide, narrow = (block.layers[0].query.weight.std().item() for block in blocks)
    assert (wide, narrow) == (pytest.approx(0.02, rel=0.01), pytest.approx(0.08, rel=0.05))
    assert blocks[1].out.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert blocks[0].position.std().item() == pytest.approx(0.02, rel=0.01)


def test_masked_vertex_modelling():
    torch.manual_seed(0)
    tokens = torch.ones(4000, 21 + 195, 2)
    masked = mask_tokens(tokens, (21, 195), 0.3, 0.01)
    hidden = (masked == 0.01).all(-1)
    assert (hidden | (masked == 1).all(-1)).all()
    joints, vertices = hidden[:, :21].sum(1), hidden[:, 21:].sum(1)
    assert joints.max() == int(0.3 * 21) and vertices.max() == int(0.3 * 195)
    assert vertices.float().mean().item() == pytest.approx(0.5 * 0.3 * 195 - 0.5, abs=1)
    assert torch.corrcoef(torch.stack([joints, vertices]).float())[0, 1].abs() < 0.05  # drawn apart
    assert hidden[:, 21:].float().mean(0).std() < 0.01  # every vertex as often
    assert torch.equal(mask_tokens(tokens, (21, 195), 0.0, 0.01), tokens)


def test_masking_is_of_training_only_and_spares_the_grid(hand, hierarchy):
    torch.manual_seed(0)
    network = Graphormer(Wide(), hand, hierarchy, GraphormerNetwork(widths=(16, 8), layers=1, masked=1.0))
    features = {"features": torch.randn(8, 2048, 7, 7), "grid": torch.randn(8, 1024, 7, 7)}
    trained, tested = network.tokens(features), network.eval().tokens(features)
    hidden = (trained == 0.01).all(-1)
    assert hidden[:, :216].any(1).all()
    torch.testing.assert_close(trained[~hidden], tested[~hidden])
    assert not hidden[:, 216:].any()
    network.settings = network.settings.model_copy(update={"masked": 0.0})
    torch.testing.assert_close(network.train().tokens(features), tested)


def test_losses_by_hand(hand, hierarchy):
    network = Metro(Wide(), hand, hierarchy, MetroNetwork(widths=(16,), layers=1))
    generator = torch.Generator().manual_seed(0)
    joints, vertices = torch.randn(2, 21, 3, generator=generator), torch.randn(2, 778, 3, generator=generator)
    wrist = joints[:, :1]
    batch = {"joints": joints, "vertices": vertices, "uv": torch.rand(2, 21, 2, generator=generator)}
    camera = torch.tensor([[2.0, 0.1, -0.2], [1.5, 0.0, 0.3]])
    shift = torch.zeros(21, 3)
    shift[5] = torch.tensor([0.3, 0.0, 0.0])
    parts = {
        "joints": joints - wrist + 7.0 + shift,  # a common shift does not count in 3D: both are taken from their wrist
        "mesh_joints": joints - wrist,
        "coarse": (vertices - wrist)[:, hierarchy.levels[2].ids] + 0.1,
        "mesh": vertices - wrist - 0.3,
        "camera": camera,
    }
    nothing = torch.zeros(2, 21, 3)
    total, terms = network.loss(Prediction(nothing, nothing, nothing, parts=parts), batch)
    seen = {}
    for name in ("joints", "mesh_joints"):
        x = parts[name]
        seen[name] = torch.stack([camera[b, 0] * (x[b, :, :2] + camera[b, 1:]) for b in range(2)])
    uv = [((seen[name] - (2 * batch["uv"] - 1)) ** 2).mean().item() for name in seen]
    expected = {"joints": 0.09 / 63, "mesh_joints": 0.0, "coarse": 0.5 * 0.1, "vertices": 0.5 * 0.3}
    expected |= {"uv": uv[0], "mesh_uv": uv[1]}
    assert {name: pytest.approx(term.item(), rel=1e-4, abs=1e-9) for name, term in terms.items()} == expected
    assert total.item() == pytest.approx(sum(expected.values()), rel=1e-5)
    network.settings = network.settings.model_copy(
        update={"weights": TransformerWeights(joints=1000, vertices=20, uv=3)}
    )
    _, heavier = network.loss(Prediction(nothing, nothing, nothing, parts=parts), batch)
    factors = {"joints": 1000, "mesh_joints": 1000, "coarse": 20, "vertices": 20, "uv": 3, "mesh_uv": 3}
    for name, factor in factors.items():
        assert heavier[name].item() == pytest.approx(factor * terms[name].item(), rel=1e-4)


def test_start_is_the_interpolated_mesh_with_the_template_in_view(hand, hierarchy):
    network = Metro(Wide(), hand, hierarchy, MetroNetwork(widths=(16,), layers=1))
    coarse = torch.randn(2, 3, 195)
    finer = coarse.numpy()
    for link in reversed(hierarchy.links[:2]):
        finer = (finer[..., link.up_vertices] * link.up_weights).sum(-1)
    torch.testing.assert_close(network.upsample(coarse).detach().numpy(), finer.astype("float32"), atol=1e-5, rtol=0)
    start = network.camera[-1].bias.detach()[None]
    assert weak_perspective(network.template[None], start).abs().max() <= 1.0
    assert (start[0, 0] * network.template).abs().max() == pytest.approx(1.0)


def test_weak_perspective_of_the_prediction(hand, hierarchy):
    torch.manual_seed(0)
    network = Metro(
        Backbone("test_efficientnet", None, 64), hand, hierarchy, MetroNetwork(widths=(16,), layers=1)
    ).eval()
    prediction = network(torch.rand(2, 3, 64, 64), torch.eye(3).expand(2, 3, 3))
    seen = weak_perspective(prediction.parts["mesh_joints"], prediction.parts["camera"])
    torch.testing.assert_close(2 * prediction.uv - 1, seen)


def test_grid_features_of_an_hrnet_are_those_its_last_layer_widens():
    torch.manual_seed(0)
    backbone = Backbone("hrnet_w18_small", None, 64).eval()
    assert (backbone.channels, backbone.narrow_channels) == (2048, 1024)
    image, model = torch.rand(1, 3, 64, 64), backbone.model
    with torch.no_grad():
        features, narrow = backbone.maps(image)
        torch.testing.assert_close(model.final_layer(narrow), features)
        torch.testing.assert_close(features, backbone(image))
        branches = model.stages(
            model.act2(model.bn2(model.conv2(model.act1(model.bn1(model.conv1(backbone.normalise(image)))))))
        )
        summed = model.incre_modules[0](branches[0])
        for index, down in enumerate(model.downsamp_modules):
            summed = model.incre_modules[index + 1](branches[index + 1]) + down(summed)
        torch.testing.assert_close(narrow, summed)


@pytest.mark.parametrize(("name", "narrow"), [("test_efficientnet", 64), ("test_resnet", 96)])
def test_grid_features_of_other_backbones(name, narrow):
    backbone = Backbone(name, None, 64)
    assert backbone.narrow_channels == narrow
    assert backbone.channels == timm.create_model(name, pretrained=False).num_features
