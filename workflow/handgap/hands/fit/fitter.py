"""Parameters of one hand model from meshes of the other, a whole batch at once and in both directions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from handgap.core.config.fit import Fit
from handgap.core.conventions import MM, Side
from handgap.core.errors import HandgapError
from handgap.core.geometry import align_rigid
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.fit.points import SkinnedPoints
from handgap.hands.fit.solver import Prior, levenberg_marquardt
from handgap.hands.fit.start import BoneStart
from handgap.hands.fit.targets import TargetCheck
from handgap.hands.kinematics import axis_angles, rotation_matrices
from handgap.hands.render_hand import RenderHand

# poses that natural ones never show (metacarpals, directions a short pose basis leaves out) still get this, radians
MIN_POSE_STD = 0.03
# every so many-th point is enough to come near
_COARSE_STRIDE = 4
# mean hands of the same vertices lie this close at the palm, others (vertices in another order) do not
_SAME_TOPOLOGY_MM = 12.0
# matrix products round a row alike in any batch whose rows fill the processor's registers
_ROWS = 8


@dataclass
class FitResult:
    """Parameters found and how well they do.

    Attributes:
        pose: (B, 3 R) axis-angle of the rotating bones, the global rotation first; mean pose added.
        shape: (B, S) standard deviations.
        trans: (B, 3) metres.
        residual_mm: (B,) mean distance of the 778 vertices; NaN where the target could not be fitted at all.
        reason: B texts, empty where the fit is valid.
    """

    pose: np.ndarray
    shape: np.ndarray
    trans: np.ndarray
    residual_mm: np.ndarray
    reason: list[str]

    @property
    def valid(self) -> np.ndarray:
        """(B,) whether the fit can be used."""
        return np.array([not reason for reason in self.reason], bool)


class Fitter:
    """Fits a hand model to the 778 vertices of the annotation topology.

    Palm alignment and bone rotations in closed form, then Levenberg-Marquardt on some of the vertices and at last on
    all of them. The cost, in mm^2, is the mean squared vertex distance plus L2 on pose and shape in units of their
    standard deviations. A target that is not a right hand in metres gets a reason, and leaves its neighbours alone.

    Args:
        model: (P,) vertices of the annotation hand -> the model's points there.
        palm: (778,) whether a vertex belongs to the palm.
        pose: mean (M,), components (K, M) and their standard deviations (K,) of poses below the global rotation.
        settings: the fit section of the study.
        device: where to compute, e.g. "cpu" or "cuda".
    """

    def __init__(
        self,
        model: Callable[[torch.Tensor], SkinnedPoints],
        palm: np.ndarray,
        pose: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        settings: Fit,
        device: str | torch.device = "cpu",
    ):
        everything = torch.arange(len(palm))
        self._model = model(everything).to(device)
        coarse = everything[::_COARSE_STRIDE]
        self._coarse, self._coarse_points = model(coarse).to(device), coarse.to(device)
        self._settings, self._device, self._palm = settings, device, palm
        n_shape = self._model.n_shape
        mean = torch.cat([torch.zeros(3), pose[0], torch.zeros(n_shape + 3)])
        of_pose = settings.pose_weight * _pose_precision(*pose[1:])
        # the global rotation and the translation are free
        precision = torch.block_diag(
            torch.zeros(3, 3), of_pose, settings.shape_weight * torch.eye(n_shape), torch.zeros(3, 3)
        )
        self._prior = Prior(mean.to(device), precision.to(device))
        with torch.no_grad():
            self._start = BoneStart(self._model, self._prior.mean)
            self._rest = self._model(self._prior.mean[None])[0].T.double().cpu().numpy()
        self._check = TargetCheck(self._rest[palm])

    @classmethod
    def to_render(
        cls, render_hand: Path, annotation_hand: Path, settings: Fit, device: str | torch.device = "cpu"
    ) -> Self:
        """Render-hand parameters from annotation meshes: pose (60), shape (S), trans.

        A left annotation hand stands for its mirror image: meshes and parameters are those of right hands.

        Raises:
            MissingAssetError, CorruptFileError: see `HandLayer.load`.
            HandgapError: the render hand is mapped to another topology than this annotation hand's.
        """
        hand, annotation = RenderHand.load(render_hand), _right_hand(annotation_hand)
        palm, pose = _palm(annotation), (hand.pose_mean, hand.pose_components, hand.pose_std)
        mapped, own = (
            points[None, palm].double().numpy()
            for points in (hand.to_annotation(hand.v_template[None])[0], annotation.v_template)
        )
        rotation, offset = align_rigid(mapped, own)
        apart = np.linalg.norm(mapped @ rotation[0].T + offset - own, axis=2).mean() / MM
        if apart > _SAME_TOPOLOGY_MM:
            problem = f"its map to the annotation hand misses the palm of {annotation_hand} by {apart:.0f} mm"
            raise HandgapError(
                render_hand, problem, "pair models made for each other: the open two, or NIMBLE and MANO"
            )
        return cls(lambda at: SkinnedPoints.of_render(hand, at), palm, pose, settings, device)

    @classmethod
    def to_annotation(cls, annotation_hand: Path, settings: Fit, device: str | torch.device = "cpu") -> Self:
        """Annotation-hand parameters from meshes of its topology: pose (48), shape (10), trans.

        They may be mapped from a render hand (`RenderHand.to_annotation`). A left hand's model stands for its mirror
        image: meshes and parameters are those of right hands.

        Raises:
            MissingAssetError, CorruptFileError: see `HandLayer.load`.
        """
        hand = _right_hand(annotation_hand)
        pose = hand.hands_mean, hand.hands_components, hand.pose_std
        return cls(lambda at: SkinnedPoints.of_annotation(hand, at), _palm(hand), pose, settings, device)

    @torch.no_grad()
    def fit(self, vertices: np.ndarray) -> FitResult:
        """Fit meshes (B, 778, 3), metres, right hands; any B, none included, in batches of the settings' size.

        A mesh's result does not depend on the others, to the last bit after `core.seeds.round_alike`.
        """
        vertices = np.asarray(vertices, np.float64)
        reasons = self._check(vertices[:, self._palm], vertices)
        bad = np.array([bool(reason) for reason in reasons], bool)
        # a stand-in that fits keeps the batch whole
        targets = np.where(bad[:, None, None], self._rest, vertices)
        size = self._settings.batch
        none = tuple(np.zeros((0, width), np.float32) for width in (self._model.n_pose, self._model.n_shape, 3))
        parts = [(*none, np.zeros(0, np.float32))]
        parts += [self._fit_batch(targets[k : k + size]) for k in range(0, len(targets), size)]
        *parameters, residual = (np.concatenate(column) for column in zip(*parts, strict=True))
        for values in (*parameters, residual):
            values[bad] = np.nan
        far = f"fit residual above {self._settings.max_residual_mm:g} mm"
        close = residual <= self._settings.max_residual_mm
        reasons = [reason or ("" if near else far) for reason, near in zip(reasons, close, strict=True)]
        return FitResult(*parameters, residual, reasons)

    def _fit_batch(self, vertices: np.ndarray) -> tuple[np.ndarray, ...]:
        count = len(vertices)
        vertices = np.concatenate([vertices, np.repeat(self._rest[None], -count % _ROWS, 0)])
        palms = np.repeat(self._rest[None, self._palm], len(vertices), 0)
        rotation, offset = align_rigid(palms, vertices[:, self._palm])
        # fit in the frame of the start, where the global rotation left to find is small and single precision enough
        target = np.swapaxes((vertices - offset[:, None]) @ rotation, 1, 2)
        target = torch.as_tensor(target, dtype=torch.float32, device=self._device).contiguous()
        parameters = self._start(target)
        coarse, steps = target[..., self._coarse_points], self._settings.coarse_iterations
        parameters = levenberg_marquardt(self._coarse, self._prior, coarse, parameters, steps)
        parameters = levenberg_marquardt(self._model, self._prior, target, parameters, self._settings.iterations)
        residual = (self._model(parameters) - target).norm(dim=1).mean(1) / MM
        pose, shape, trans = self._model.split(parameters)
        root = self._model.rest_joints(shape)[:, 0].double()
        turn, offset = (torch.as_tensor(part, device=self._device) for part in (rotation, offset))
        pose = torch.cat([axis_angles(turn @ rotation_matrices(pose[:, :3].double())), pose[:, 3:].double()], 1)
        trans = (turn @ (root + trans)[..., None])[..., 0] + offset - root
        return tuple(part[:count].float().cpu().numpy() for part in (pose, shape, trans, residual))


def _right_hand(path: Path) -> AnnotationHand:
    hand = AnnotationHand.load(path)
    return hand if hand.side is Side.RIGHT else hand.mirrored()


def _palm(hand: AnnotationHand) -> np.ndarray:
    return (hand.weights[:, 0] > 0.5).numpy()


def _pose_precision(components: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """(M, M) inverse covariance of poses: components (K, M) with their std (K,), in no direction under MIN_POSE_STD.

    Components need not be orthonormal; directions that they leave out get MIN_POSE_STD.
    """
    scaled = (components * std[:, None]).double()
    values, vectors = torch.linalg.eigh(scaled.T @ scaled)
    return ((vectors / values.clamp_min(MIN_POSE_STD**2)) @ vectors.T).float()
