"""CMR (Chen et al., CVPR 2021): heatmaps and silhouette from a cascade of backbones, a mesh from spiral convolutions.

The mesh is relative to the wrist, in units of 0.20 m, and supervised on every level of the hierarchy but the coarsest.
Readings of what the paper leaves open, and departures:

- *Variant* (`variant`): "g", the default of the released script, has two backbones; "sg" and "pg" have three, and
  attention on the latent vector, which "g" leaves off.
- *Backbones* other than ResNets: see `cascade`. Only the last one has a classifier: the earlier ones' were never used.
- *Mixing* in front of a later backbone starts by handing on the stem's features (random in the release): what the
  backbone's weights know, they know behind its own stem.
- *Maps* start empty (random in the release).
- *Images* (`input`) are normalised the way the backbone's weights were trained; "published" is the release's
  (x - 0.5) / 0.5.
- *2D joints* are the highest places of the heatmaps. Absolute position (the release's registration of mesh, joints and
  silhouette) is not part of the network: metrics are relative to a root.
- *Heatmaps of the labels* are 13 px wide on the published 224 px, and keep that share of smaller images.
- *Joints of the mesh* are those of the labels, not the release's own fingertips.
"""

import torch
from torch import Tensor
from torch.nn import functional

from handgap.core.config.networks import CmrNetwork
from handgap.core.conventions import N_JOINTS, WRIST
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy
from handgap.networks.backbone import Backbone, Pixels
from handgap.networks.base import PUBLISHED_EDGE, HandNetwork, Prediction, edge_loss, root_relative
from handgap.networks.cascade import LATENT, MapCascade
from handgap.networks.spiral import SpiralDecoder

UNIT = 0.20  # metres
MODEL = "backbone.model."  # where networks with one backbone have its weights
WEIGHTS = {"vertices": 1.0, "uv": 10.0, "mask": 0.5, "normal": 0.1, "edge": 1.0}
MAP_RADIUS, MAP_SIGMA = 6, 3.5  # of the labels' heatmaps on the published image, px: half the width drawn, deviation


def joint_maps(uv: Tensor, size: int) -> Tensor:
    """Heatmaps of the labels: a Gaussian of peak 1 around each joint's pixel, cut off to a square.

    Drawn at twice the size and halved by means of 2 x 2 pixels, as drawn at 224 px and resized to 112.

    Args:
        uv: (B, P, 2) share of the image's edge.
        size: edge of the maps, px.

    Returns:
        (B, P, size, size).
    """
    scale = 2 * size / PUBLISHED_EDGE
    offset = torch.arange(2 * size, device=uv.device) - (uv * 2 * size).floor()[..., None]
    profile = (-0.5 * (offset / (MAP_SIGMA * scale)) ** 2).exp() * (offset.abs() <= round(MAP_RADIUS * scale))
    x, y = profile.unflatten(-1, (size, 2)).mean(-1).unbind(2)
    return y[..., None] * x[:, :, None]


def map_peaks(maps: Tensor) -> Tensor:
    """Highest pixel (B, P, 2) of maps (B, P, s, s), as a share of the edge (x, y)."""
    size = maps.shape[-1]
    highest = maps.flatten(2).argmax(-1)
    return (torch.stack([highest % size, highest // size], -1) + 0.5) / size


def normal_loss(predicted: Tensor, truth: Tensor, faces: Tensor) -> Tensor:
    """Mean |cosine| between predicted edges of each face and the true normal of that face.

    Args:
        predicted, truth: (B, V, 3).
        faces: (F, 3).
    """
    corners = truth[:, faces]
    normal = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    edges = functional.normalize(predicted[:, faces] - predicted[:, faces.roll(1, 1)], dim=-1)
    return (edges * functional.normalize(normal, dim=-1)[:, :, None]).sum(-1).abs().mean()


class Cmr(HandNetwork):
    """Cascade -> latent vector and maps; latent vector -> meshes. See the module's docstring.

    Args:
        backbones: as many as the variant has, see `MapCascade`.
        annotation_hand: hand model of the labels.
        hierarchy: of its mesh.
        settings: variant and sizes.

    Raises:
        ConfigError: see `MapCascade` and `SpiralDecoder`.
    """

    published_input = Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def __init__(
        self, backbones: list[Backbone], annotation_hand: AnnotationHand, hierarchy: Hierarchy, settings: CmrNetwork
    ):
        super().__init__(MapCascade(backbones, settings.variant), annotation_hand)
        attention = settings.variant != "g"
        self.decoder = SpiralDecoder(LATENT, settings.channels, settings.spiral_length, hierarchy, attention)
        # not persistent: a file of weights must not carry a licensed mesh
        self.register_buffer("faces", torch.as_tensor(hierarchy.levels[0].faces, dtype=torch.long), persistent=False)
        for level in self.decoder.levels:
            ids = torch.as_tensor(hierarchy.levels[level].ids, dtype=torch.long)
            self.register_buffer(f"ids{level}", ids, persistent=False)

    def renamed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The backbone of a network that has one becomes each of the cascade's."""
        model = {name.removeprefix(MODEL): value for name, value in weights.items() if name.startswith(MODEL)}
        return weights | {f"backbone.{name}": value for name, value in self.backbone.shared_out(model).items()}

    def head(self, features: dict[str, Tensor], K: Tensor, image_size: int) -> Prediction:
        """Meshes and the places of the heatmaps; the intrinsics are not used."""
        meshes = self.decoder(features["latent"])
        vertices = UNIT * meshes[-1]
        joints = self.annotation_hand.regress_joints(vertices)
        uv = map_peaks(features["maps"][:, :N_JOINTS])
        parts = features | {f"mesh{level}": mesh for level, mesh in zip(self.decoder.levels, meshes, strict=True)}
        return Prediction(root_relative(joints, joints), root_relative(vertices, joints), uv, parts=parts)

    def loss(self, prediction: Prediction, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """L1 on the vertices of every level, cross entropy on maps, normals and edges of the full mesh.

        The batch has ``mask`` (B, S, S) besides what every network needs: 1 where the hand is seen.
        """
        parts, terms = prediction.parts, dict.fromkeys(WEIGHTS, 0.0)
        truth = (batch["vertices"] - batch["joints"][:, WRIST : WRIST + 1]) / UNIT
        for level in self.decoder.levels:
            terms["vertices"] += functional.l1_loss(parts[f"mesh{level}"], truth[:, getattr(self, f"ids{level}")])
        size = parts["maps"].shape[-1]
        joints = joint_maps(batch["uv"], size)
        mask = functional.adaptive_avg_pool2d(batch["mask"][:, None], size)
        guesses = [parts["maps"][:, :N_JOINTS], parts["maps"][:, N_JOINTS:]]
        guesses += [parts[name] for name in ("prior0", "prior1") if name in parts]
        for guess in guesses:
            name, answer = ("mask", mask) if guess.shape[1] == 1 else ("uv", joints)
            terms[name] += functional.binary_cross_entropy_with_logits(guess, answer)
        terms["normal"] = normal_loss(parts["mesh0"], truth, self.faces)
        terms["edge"] = edge_loss(parts["mesh0"], truth, self.faces)
        terms = {name: WEIGHTS[name] * term for name, term in terms.items()}
        return sum(terms.values()), terms
