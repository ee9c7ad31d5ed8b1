"""Render-hand parameters from annotation-hand meshes, a whole batch at once.

A rigid start from the palm (Kabsch), then Levenberg-Marquardt (Marquardt 1963) on pose, shape and translation with
forward-mode Jacobians and one damping per sample. The cost, in mm^2, is the mean squared vertex distance plus L2 on
pose and shape in units of their standard deviations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from handgap.core.config.fit import Fit
from handgap.core.geometry import align_rigid
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.kinematics import axis_angles, linear_blend_skinning, rotation_matrices
from handgap.hands.render_hand import RENDER_BONES, RenderHand

MM = 1e3
# joints that natural poses hardly turn (the metacarpals) still get this much freedom, radians
MIN_POSE_STD = 0.03
_DAMPING = (1e-2, 0.25, 6.0)  # at the start, after a good step, after a bad one


@dataclass
class FitResult:
    """Parameters of the render hand and what is left.

    Attributes:
        render_pose: (B, 60) axis-angle.
        render_shape: (B, S) standard deviations.
        render_trans: (B, 3) metres.
        residual_mm: (B,) mean vertex distance.
    """

    render_pose: np.ndarray
    render_shape: np.ndarray
    render_trans: np.ndarray
    residual_mm: np.ndarray


class _MappedHand(nn.Module):
    """The render hand thinned to the vertices that the annotation mesh is mapped from."""

    def __init__(self, hand: RenderHand):
        super().__init__()
        used, compact = torch.unique(hand.mano_vertices, return_inverse=True)
        self.map = compact, hand.mano_weights
        self.template, self.directions = hand.v_template[used], hand.shapedirs[used]
        self.weights, self.parents = hand.weights[used], hand.parents
        self.joints, self.joint_directions = hand.J_template, hand.J_shapedirs
        self.n_shape = hand.n_shape

    def rest_joints(self, shape: torch.Tensor) -> torch.Tensor:
        """(B, 26, 3): the forearm turns about the wrist."""
        joints = self.joints + torch.einsum("bs,jcs->bjc", shape, self.joint_directions)
        return torch.cat([joints, joints[:, :1]], 1)

    def forward(self, parameters: torch.Tensor) -> torch.Tensor:
        """Annotation vertices (B, 778, 3) of parameters (B, 60 + S + 3)."""
        pose, shape, trans = parameters.split([60, self.n_shape, 3], 1)
        turns = rotation_matrices(pose.unflatten(-1, (20, 3)))
        spot = torch.zeros(26, 20, dtype=pose.dtype)
        spot[RENDER_BONES, torch.arange(20)] = 1.0
        still = torch.eye(3, dtype=pose.dtype) * (1 - spot.sum(1))[:, None, None]
        rotations = torch.einsum("jn,bnxy->bjxy", spot, turns) + still
        shaped = self.template + torch.einsum("bs,vcs->bvc", shape, self.directions)
        vertices, _ = linear_blend_skinning(shaped, self.rest_joints(shape), rotations, self.weights, self.parents)
        faces, weights = self.map
        return (vertices[:, faces] * weights[..., None]).sum(2) + trans[:, None]


class Fitter:
    """Fits one render hand to meshes of one annotation hand.

    Args:
        render_hand, annotation_hand: the two models; the latter says which vertices belong to the palm.
        pose_mean, pose_components, pose_std: (57,), (57, 57), (57,) statistics of natural render poses.
        shape_std: (S,).
        settings: the fit section of the study.
    """

    def __init__(
        self,
        render_hand: RenderHand,
        annotation_hand: AnnotationHand,
        pose_mean: np.ndarray,
        pose_components: np.ndarray,
        pose_std: np.ndarray,
        shape_std: np.ndarray,
        settings: Fit,
    ):
        self._hand, self._settings = _MappedHand(render_hand), settings
        self._palm = (annotation_hand.weights[:, 0] > 0.5).numpy()
        self._mean = torch.cat([torch.zeros(3), torch.as_tensor(pose_mean), torch.zeros(render_hand.n_shape + 3)])
        whiten = pose_components / np.maximum(pose_std, MIN_POSE_STD)[:, None]
        prior = torch.zeros(57 + render_hand.n_shape, 60 + render_hand.n_shape + 3)
        prior[:57, 3:60] = torch.as_tensor(whiten) * settings.pose_weight**0.5
        prior[57:, 60:-3] = torch.diag(torch.as_tensor(settings.shape_weight**0.5 / shape_std))
        self._prior = prior

    @classmethod
    def load(cls, render_hand: Path, annotation_hand: Path, settings: Fit) -> Self:
        """Read both model files.

        Raises:
            MissingAssetError, CorruptFileError: see `HandLayer.load`.
        """
        models = RenderHand.load(render_hand), AnnotationHand.load(annotation_hand)
        with np.load(render_hand) as file:
            statistics = [file[name] for name in ("pose_mean", "pose_components", "pose_std", "shape_std")]
        return cls(*models, *statistics, settings)

    def fit(self, vertices: np.ndarray) -> FitResult:
        """Fit annotation meshes (B, 778, 3), metres, right hands; any B, done in batches of the settings' size."""
        parts = [self._fit_batch(part) for part in _split(vertices, self._settings.batch)]
        return FitResult(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _fit_batch(self, vertices: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.no_grad():
            start = self._hand(self._mean[None]).double().numpy()
        count = len(vertices)
        palms = np.repeat(start[:, self._palm], count, 0)
        rotation, offset = align_rigid(palms, np.asarray(vertices, np.float64)[:, self._palm])
        # fit in the frame of the start, where the global rotation left to find is small
        target = torch.as_tensor((vertices - offset[:, None]) @ rotation, dtype=torch.float32)
        parameters = self._levenberg_marquardt(target)
        with torch.no_grad():
            found = self._hand(parameters)
        pose, shape, trans = parameters.double().split([60, self._hand.n_shape, 3], 1)
        root = self._hand.rest_joints(shape.float())[:, 0].double()
        turn = torch.as_tensor(rotation)
        pose = torch.cat([axis_angles(turn @ rotation_matrices(pose[:, :3])), pose[:, 3:]], 1)
        trans = (turn @ (root + trans)[..., None])[..., 0] + torch.as_tensor(offset) - root
        residual = (found - target).norm(dim=-1).mean(1) * MM
        return tuple(part.float().numpy() for part in (pose, shape, trans, residual))

    def _residuals(self, parameters: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """(B, R) such that the squared sum is the cost in mm^2."""
        distance = (self._hand(parameters) - target).flatten(1) * (MM / target.shape[1] ** 0.5)
        return torch.cat([distance, (parameters - self._mean) @ self._prior.T], 1)

    def _levenberg_marquardt(self, target: torch.Tensor) -> torch.Tensor:
        count = len(target)
        parameters = self._mean.expand(count, -1).clone()
        start, better, worse = _DAMPING
        damping = torch.full((count, 1), start)
        residuals = self._residuals(parameters, target)
        directions = torch.eye(parameters.shape[1])
        for _ in range(self._settings.iterations):

            def along(direction: torch.Tensor, at: torch.Tensor = parameters) -> torch.Tensor:
                tangent = direction.expand_as(at)
                return torch.func.jvp(lambda p: self._residuals(p, target), (at,), (tangent,))[1]

            jacobian = torch.vmap(along, chunk_size=16)(directions).permute(1, 2, 0)
            normal = jacobian.transpose(1, 2) @ jacobian
            slope = (jacobian.transpose(1, 2) @ residuals[..., None])[..., 0]
            diagonal = normal.diagonal(dim1=1, dim2=2)
            damped = normal + torch.diag_embed(damping * diagonal + 1e-6)
            trial = parameters - torch.linalg.solve(damped, slope)
            moved = self._residuals(trial, target)
            good = (moved.square().sum(1) < residuals.square().sum(1))[:, None]
            parameters = torch.where(good, trial, parameters)
            residuals = torch.where(good, moved, residuals)
            damping = (damping * torch.where(good, better, worse)).clamp(1e-7, 1e4)
        return parameters


def _split(vertices: np.ndarray, size: int) -> list[np.ndarray]:
    return [vertices[k : k + size] for k in range(0, len(vertices), size)]
