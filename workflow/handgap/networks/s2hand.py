"""S2HAND (Chen et al., CVPR 2021): hand-model parameters from an image, with labels or from detected 2D joints alone.

The encoder's pooled features go through two shared layers to branches for hand-model pose, translation, rotation and
scale (and shape). The stage says what it learns from:

- *supervised*: labels, as in the descendant HiFiHR; very likely what the CVPR 2025 study calls S2HAND.
- *shape*: detected 2D joints, limits of the joints' angles, the length of one bone.
- *kp*: `S2HandKeypoints`, the heatmap branch alone, from detected 2D joints.
- *finetune*: both together, held consistent, with colours and light that must explain the image.
- *e2e*: all of it from the start, with smoothness of the mesh.

Readings of what the sources leave open, and departures:

- *Encoder* (`pretrained`, `input`): starts from ImageNet weights and normalises accordingly, as the paper has it; the
  release starts at random and takes images in [0, 1] as they are (`input: published`).
- *Shape* stays zero (`mean_shape`), as the release does by default; the paper regularises it.
- *Start*: the last weights of translation and scale are small, N(0, 0.001); those before them start as any layer's.
- *Translation* is that of a canonical camera whose focal length equals the crop's edge; the depth in front of the
  crop's own camera is that times focal / edge. A crop does not show its focal length, its projection does not need it.
- *Joints* are those of the labels (regressed from the mesh), as with every network; the release takes the turning
  points of the model.
- *Pose* coefficients multiply the model's components as they are (`pose_units`), as released. In standard deviations
  they keep to what hands do where the 2D joints do not tell: see docs/networks.md for what that is worth.
- *Other hand models*: turns, limits and bone length are MANO's, put into the model's own axes and size (see
  `s2hand_losses.mano_axes` and `mean_bone`). It matters where a hand starts: MANO turned by (pi, 0, 0) shows its edge,
  palm and back are a quarter turn away. From the back, palms would be half a turn away, where an axis-angle jumps, and
  without labels they stay edges.
- *Supervised terms*: "full" adds vertices and edges. The projected joints have S2HAND's own term (`joint_2d`): it is
  the only one that trains the translation.
- *Smoothness* weighs each mesh by its own cotangents, the release by those of a batch's first.
"""

from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from handgap.core.config.networks import S2HandNetwork
from handgap.core.conventions import N_ANNOTATION_VERTICES, N_JOINTS
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.kinematics import axis_angles, rotation_matrices
from handgap.networks import s2hand_losses as losses
from handgap.networks.backbone import Backbone, Pixels
from handgap.networks.base import PUBLISHED_EDGE, HandNetwork, Prediction, edge_loss, root_relative
from handgap.networks.hourglass import HeatmapBranch, keypoints_of
from handgap.networks.renderer import Light, render
from handgap.networks.skin_net import SkinNet

N_POSE, N_SHAPE = 30, 10
# the published start is 0.65 m in front of the camera, for whole images of FreiHAND; in a crop, whose canonical focal
# length is its edge, a hand as far as 0.25 m fills the picture
MEAN_DEPTH, MEAN_SCALE = 0.25, 0.95
NEAREST = 1e-2  # metres, least depth that is divided by


def _branch(*widths: int) -> nn.Sequential:
    """512 -> 128, ReLU, then linear layers of the widths given with nothing between them."""
    layers = [nn.Linear(512, 128), nn.ReLU()]
    sizes = (128, *widths)
    return nn.Sequential(*layers, *(nn.Linear(a, b) for a, b in zip(sizes, widths, strict=False)))


def _start_near(branch: nn.Sequential, bias: tuple[float, ...]) -> None:
    """Small last weights and a fixed bias, so that training starts from one place of the hand before the camera."""
    nn.init.normal_(branch[-1].weight, std=1e-3)
    branch[-1].bias.data = torch.tensor(bias)


class S2Hand(HandNetwork):
    """Encoder -> hand-model parameters -> mesh. See the module's docstring.

    Args:
        backbone: image encoder.
        annotation_hand: hand model of the labels.
        settings: stage, supervision, sizes.

    Raises:
        ConfigError: the stage has a texture and the backbone no early features, see `Backbone.with_early`.
    """

    published_input = Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def __init__(self, backbone: Backbone, annotation_hand: AnnotationHand, settings: S2HandNetwork):
        super().__init__(backbone, annotation_hand)
        self.settings, self.epoch = settings, 0
        self.shared = nn.Sequential(
            nn.Linear(backbone.channels, 1024), nn.BatchNorm1d(1024), nn.ReLU(),
            nn.Linear(1024, 512), nn.BatchNorm1d(512), nn.ReLU(),
        )  # fmt: skip
        self.pose = _branch(N_POSE)
        self.shape = None if settings.mean_shape else _branch(N_SHAPE)
        self.trans, self.rot, self.scale = _branch(32, 3), _branch(32, 3), _branch(32, 1)
        _start_near(self.trans, (0.0, 0.0, MEAN_DEPTH))
        _start_near(self.scale, (MEAN_SCALE,))
        self.textured = settings.has_texture
        if self.textured:
            self.heatmaps, self.skin = HeatmapBranch(settings.hourglass), SkinNet(backbone.early_channels)
        limits = losses.pose_limits()
        constants = {
            "start": torch.tensor([pi, 0.0, 0.0]),
            "axes": losses.mano_axes(annotation_hand),
            "least": limits[0],
            "greatest": limits[1],
            "faces": torch.as_tensor(annotation_hand.faces),
        }
        # MANO's first turn of MANO's rest hand, from the rest hand of this model
        constants["own_start"] = axis_angles(rotation_matrices(constants["start"]) @ constants["axes"])
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self.bone = losses.mean_bone(annotation_hand)

    def begin_epoch(self, epoch: int) -> None:
        """The weight of the pose regulariser falls."""
        self.epoch = epoch

    def encode_for_loss(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Features; in stages with a texture the early ones (``early``) and heatmaps (``maps``) too."""
        if not self.textured:
            return self.backbone(images)
        features, early = self.backbone.with_early(images)
        return {"features": features, "early": early, "maps": self.heatmaps(images)}

    def head(self, features: Tensor | dict[str, Tensor], K: Tensor, image_size: int) -> Prediction:
        """Regress the parameters, pose the hand model, project.

        The prediction's parts are ``turns`` (B, 16, 3) axis-angle in MANO's axes, the root's being (pi, 0, 0);
        ``placed`` (B, 778, 3) vertices in front of the crop's camera; and, where the features have their sources,
        ``keypoints`` (stacks, B, 21, 2) share of the edge, ``colours`` (B, 1538, 3), ``light`` (B, 3, 3).
        """
        given = features if isinstance(features, dict) else {"features": features}
        shared = self.shared(given["features"].mean((2, 3)))
        pose, trans, hand = self.pose(shared), self.trans(shared), self.annotation_hand
        shape = pose.new_zeros(pose.shape[0], N_SHAPE) if self.shape is None else self.shape(shared)
        start = self.own_start.expand(pose.shape[0], 3)
        if self.settings.pose_units == "components":
            full = hand.full_pose(start, pose, use_pca=True, flat_hand_mean=False)
        else:
            full = torch.cat([start, hand.pose_from_components(pose)], 1)
        posed = hand(full, shape, torch.zeros_like(trans))
        turn = self.scale(shared).abs()[..., None] * rotation_matrices(self.rot(shared)).transpose(1, 2)
        vertices = posed.vertices @ turn
        joints = hand.regress_joints(vertices)
        focal = K[:, :1, 0] / image_size
        depth = torch.cat([trans[:, :2], trans[:, 2:] * focal], 1)[:, None]
        camera = (joints + depth) @ K.transpose(1, 2)
        uv = camera[..., :2] / camera[..., 2:].clamp_min(NEAREST) / image_size
        fingers = full[:, 3:].unflatten(1, (15, 3)) @ self.axes.T
        parts = {"turns": torch.cat([self.start.expand_as(start)[:, None], fingers], 1), "placed": vertices + depth}
        if "maps" in given:
            parts["keypoints"] = keypoints_of(given["maps"], image_size)
        if "early" in given:
            parts["colours"], light = self.skin(given["early"])
            parts["light"] = torch.stack(light, 1)
        return Prediction(root_relative(joints, joints), root_relative(vertices, joints), uv, pose, shape, parts)

    def loss(self, prediction: Prediction, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Terms of the stage, see `s2hand_losses.STAGES`.

        A self-supervised batch has no labels but ``keypoints`` (B, 21, 2) share of the crop's edge and ``confidence``
        (B, 21); its ``image`` and ``K`` are read too. Stages with a texture need a prediction made `for_loss`.
        """
        supervised = self.settings.stage == "supervised"
        terms = self._supervised(prediction, batch) if supervised else self._self_supervised(prediction, batch)
        return sum(terms.values()), terms

    def _supervised(self, prediction: Prediction, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        joints = functional.l1_loss(prediction.joints, batch["joints"])
        uv, true_uv = (points * PUBLISHED_EDGE for points in (prediction.uv, batch["uv"]))
        projected = losses.joint_2d(uv, true_uv, batch["uv_weight"])
        found = {"joint_3d": joints, "joint_2d": projected}
        weights = losses.LAMBDA
        if self.settings.supervision == "joints":
            weights = weights | losses.JOINTS_ONLY
        else:
            found["vertices"] = functional.l1_loss(prediction.vertices, batch["vertices"])
            found["edge"] = edge_loss(prediction.vertices, batch["vertices"], self.faces)
        if self.shape is not None:
            found["mshape"] = losses.mshape(prediction.shape)
        terms = {name: weights[name] * value for name, value in found.items()}
        return terms | {"mpose": losses.pose_weight(self.epoch) * prediction.pose.square().mean()}

    def _self_supervised(self, prediction: Prediction, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        parts, confidence = prediction.parts, batch["confidence"]
        projected, detected = (points * PUBLISHED_EDGE for points in (prediction.uv, batch["keypoints"]))
        found = {
            "tsa_poses": losses.tsa_poses(parts["turns"], (self.least, self.greatest)),
            "open_2dj": losses.open_2dj(projected, detected, confidence),
            "mscale": losses.mscale(prediction.joints, self.bone),
            "open_bone_direc": losses.open_bone_direc(projected, detected, confidence),
        }
        if self.textured:
            keypoints = parts["keypoints"] * PUBLISHED_EDGE
            found["hm_integral"] = losses.hm_integral(keypoints, detected, confidence)
            found["kp_cons"] = losses.kp_cons(keypoints[-1], projected)
            belief = losses.texture_confidence(confidence, self.settings.texture_confidence)
            size = self.settings.render_size
            rendered, silhouette = self.render(prediction, batch["K"], batch["image"].shape[-1], size)
            seen = functional.interpolate(batch["image"], size=(size, size), mode="bilinear", antialias=True)
            found["texture"] = losses.texture(rendered, seen, silhouette, belief)
            found["mrgb"] = losses.mrgb(rendered, seen, silhouette, belief)
            found["mtex"] = losses.mtex(parts["colours"], belief)
        if self.settings.stage == "e2e":
            found["triangle"] = losses.triangle(parts["placed"], self.faces)
            if self.shape is not None:
                found["mshape"] = losses.mshape(prediction.shape)
        wanted = losses.STAGES[self.settings.stage]
        return {name: losses.LAMBDA[name] * value for name, value in found.items() if name in wanted}

    def render(self, prediction: Prediction, K: Tensor, image_size: int, size: int) -> tuple[Tensor, Tensor]:
        """Pictures of a prediction that has colours, see `renderer.render`.

        Args:
            prediction: made `for_loss`.
            K: (B, 3, 3) intrinsics of the crops, of `image_size` px.
            size: edge of the pictures, px.
        """
        scale = K.new_tensor([size / image_size, size / image_size, 1.0])[:, None]
        light = Light(*prediction.parts["light"].unbind(1))
        return render(prediction.parts["placed"], self.faces, prediction.parts["colours"], light, scale * K, size)


class S2HandKeypoints(HandNetwork):
    """The stage "kp": the heatmap branch, trained alone. It predicts 2D joints; its 3D joints are not a number.

    Args:
        annotation_hand: hand model of the labels.
        settings: size of the branch.
    """

    def __init__(self, annotation_hand: AnnotationHand, settings: S2HandNetwork):
        super().__init__(nn.Identity(), annotation_hand)
        self.settings = settings
        self.heatmaps = HeatmapBranch(settings.hourglass)

    def encode(self, images: Tensor) -> Tensor:
        """Heatmaps of all stacks."""
        return self.heatmaps(images)

    def head(self, features: Tensor, K: Tensor, image_size: int) -> Prediction:
        """Places of the joints in the heatmaps; the intrinsics are not used."""
        keypoints = keypoints_of(features, image_size)
        vertices = keypoints.new_full((keypoints.shape[1], N_ANNOTATION_VERTICES, 3), torch.nan)
        return Prediction(vertices[:, :N_JOINTS], vertices, keypoints[-1], parts={"keypoints": keypoints})

    def loss(self, prediction: Prediction, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Distance to detected 2D joints, see `S2Hand.loss` for the batch."""
        places = prediction.parts["keypoints"], batch["keypoints"]
        keypoints, detected = (points * PUBLISHED_EDGE for points in places)
        term = losses.LAMBDA["hm_integral"] * losses.hm_integral(keypoints, detected, batch["confidence"])
        return term, {"hm_integral": term}
