"""How well and how fast the fit does, against the recipe that was there before it.

    python benchmarks/fit.py             quality on held-out meshes, both directions; speed against the Adam recipe
    python benchmarks/fit.py --options   the table of docs/fit.md

The reference is the best-supported one-at-a-time recipe for fitting NIMBLE to MANO vertices: Adam on rotation and
translation, lr 1e-1, 200 iterations, then on all of rotation (3), translation (3), pose (30 components) and shape (20),
lr 1e-2, 400 iterations; mean squared distance in mm with L2 on normalised coefficients. It gets the same rigid start
and the same thinned hand as the fit, so that the ratio is one of methods.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from handgap.core.config.fit import Fit
from handgap.core.conventions import MM
from handgap.core.files import read_arrays
from handgap.core.geometry import align_rigid, random_rotation
from handgap.core.seeds import rng
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.fit.fitter import FitResult, Fitter
from handgap.hands.fit.points import SkinnedPoints
from handgap.hands.kinematics import axis_angles
from handgap.hands.prior import PosePrior
from handgap.hands.render_hand import RenderHand

MODELS = Path(__file__).resolve().parents[1] / "results/models"
RENDER, ANNOTATION = MODELS / "open_nimble.npz", MODELS / "open_mano.npz"
STAGES = ((1e-1, 200), (1e-2, 400))  # learning rate, iterations
N_COMPONENTS, N_SHAPE = 30, 20  # of pose and shape
WEIGHT = 1e-2  # mm^2 per unit^2: the recipe's text names none, and this keeps the distance in charge
# of five meshes, where the finger pose is from; wild: PCA coefficients stretched beyond what is natural
KINDS = ("prior", "pca", "prior", "pca", "wild")
STRETCH = {"pca": 1.0, "wild": 1.5}
OPTIONS = (
    {},
    *({"pose_weight": value} for value in (0.0, 1e-2, 1e-1, 1.0)),
    *({"shape_weight": value} for value in (0.0, 1e-1, 1.0)),
    *({"coarse_iterations": a, "iterations": b} for a, b in ((0, 1), (0, 2), (0, 4), (0, 8), (2, 1), (4, 1), (10, 10))),
    *({"batch": value} for value in (8, 64, 256)),
)


def held_out(count: int) -> np.ndarray:
    """Annotation meshes (N, 778, 3) in camera space, of poses and shapes that no model or setting was made from."""
    hand, prior, annotation = RenderHand.load(RENDER), PosePrior.load(RENDER), AnnotationHand.load(ANNOTATION)
    poses, shapes, places = [], [], []
    with torch.no_grad():
        for k in range(count):
            g, kind = rng(0, "benchmarks/fit", k), KINDS[k % len(KINDS)]
            if kind == "prior":
                pose = torch.as_tensor(prior.sample_pose(g)[None]).float()
                fingers = hand.annotation_pose(pose)[0, 3:]
            else:
                coefficients = torch.as_tensor(STRETCH[kind] * g.normal(size=(1, 45))).float()
                fingers = annotation.pose_from_components(coefficients)[0]
            poses.append(np.concatenate([axis_angles(torch.as_tensor(random_rotation(g))), fingers]))
            shapes.append(g.normal(size=10))
            places.append(g.uniform([-0.3, -0.3, 0.3], [0.3, 0.3, 1.2]))
        parts = (torch.as_tensor(np.array(part)).float() for part in (poses, shapes, places))
        return annotation(*parts).vertices.numpy()


def on_render_hand(count: int) -> np.ndarray:
    """Render-hand meshes mapped to annotation vertices (N, 778, 3): targets of the other direction."""
    hand, prior = RenderHand.load(RENDER), PosePrior.load(RENDER)
    generators = [rng(1, "benchmarks/fit", k) for k in range(count)]
    poses = np.array([prior.sample_pose(g) for g in generators])
    poses[:, :3] = [axis_angles(torch.as_tensor(random_rotation(g))).numpy() for g in generators]
    shapes = np.array([prior.sample_shape(g) for g in generators])
    with torch.no_grad():
        parts = (torch.as_tensor(part).float() for part in (poses, shapes, np.tile([0.1, 0.0, 0.6], (count, 1))))
        return hand.to_annotation(hand(*parts).vertices).numpy()


class AdamRecipe:
    """The two-stage recipe, one mesh at a time."""

    def __init__(self):
        hand, annotation, everything = RenderHand.load(RENDER), AnnotationHand.load(ANNOTATION), torch.arange(778)
        self._points = SkinnedPoints.of_render(hand, everything)
        arrays = read_arrays(RENDER)
        self._mean = torch.as_tensor(arrays["pose_mean"])
        scaled = arrays["pose_components"][:N_COMPONENTS] * arrays["pose_std"][:N_COMPONENTS, None]
        self._components = torch.as_tensor(scaled)
        self._palm = (annotation.weights[:, 0] > 0.5).numpy()
        with torch.no_grad():
            self._rest = self._placed(torch.zeros(3), torch.zeros(3), *self._zeros())

    def _placed(self, turn: torch.Tensor, move: torch.Tensor, pose: torch.Tensor, shape: torch.Tensor) -> torch.Tensor:
        full = torch.cat([turn, self._mean + pose @ self._components, shape, move * MM])
        return self._points(full[None])[0].T

    def residual_mm(self, vertices: np.ndarray) -> float:
        """Mean vertex distance after fitting one mesh (778, 3)."""
        rest = self._rest.double().numpy()
        rotation, _ = align_rigid(rest[None, self._palm], vertices[None, self._palm].astype(np.float64))
        target = torch.as_tensor(vertices)
        turn = axis_angles(torch.as_tensor(rotation[0])).float()
        with torch.no_grad():
            off = target.mean(0) - self._placed(turn, torch.zeros(3), *self._zeros()).mean(0)
        variables = [value.requires_grad_() for value in (turn, off / MM, *self._zeros())]
        for (rate, iterations), optimised in zip(STAGES, (variables[:2], variables), strict=True):
            adam = torch.optim.Adam(optimised, lr=rate)
            for _ in range(iterations):
                adam.zero_grad()
                distance = ((self._placed(*variables) - target) / MM).square().sum(1).mean()
                (distance + WEIGHT * sum(value.square().sum() for value in variables[2:])).backward()
                adam.step()
        with torch.no_grad():
            return float((self._placed(*variables) - target).norm(dim=1).mean() / MM)

    @staticmethod
    def _zeros() -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(N_COMPONENTS), torch.zeros(N_SHAPE)


def timed(fitter: Fitter, meshes: np.ndarray) -> tuple[FitResult, float]:
    """Result and processor seconds per mesh, after a first batch that is not counted."""
    fitter.fit(meshes[:2])
    start = time.process_time()
    result = fitter.fit(meshes)
    return result, (time.process_time() - start) / len(meshes)


def row(name: str, residuals: np.ndarray, seconds: float) -> str:
    """One line of a table: residuals in mm, milliseconds, fits per second."""
    mean, p95, most = residuals.mean(), np.percentile(residuals, 95), residuals.max()
    return (
        f"| {name} | {len(residuals)} | {mean:.3f} | {p95:.3f} | {most:.3f} | {seconds * 1e3:.1f} | {1 / seconds:.1f} |"
    )


def compare(count: int, reference: int) -> None:
    """Quality of both directions and speed against the recipe."""
    meshes = held_out(count)
    print("| what | meshes | mean mm | 95 % mm | max mm | ms per fit | fits per s |\n|---|---|---|---|---|---|---|")
    result, seconds = timed(Fitter.to_render(RENDER, ANNOTATION, Fit()), meshes)
    print(row("to the render hand", result.residual_mm, seconds))
    for kind in sorted(set(KINDS)):
        of_kind = np.array([KINDS[k % len(KINDS)] == kind for k in range(count)])
        print(row(f"of these, poses: {kind}", result.residual_mm[of_kind], seconds))
    print(f"| not valid | {(~result.valid).sum()} | | | | | |")
    back, seconds = timed(Fitter.to_annotation(ANNOTATION, Fit()), on_render_hand(count // 4))
    print(row("to the annotation hand", back.residual_mm, seconds))
    batch = meshes[:256]
    result, seconds = timed(Fitter.to_render(RENDER, ANNOTATION, Fit(batch=256)), batch)
    print(row("256 in one batch", result.residual_mm, seconds))
    recipe = AdamRecipe()
    start = time.process_time()
    residuals = np.array([recipe.residual_mm(mesh) for mesh in batch[:reference]])
    adam_seconds = (time.process_time() - start) / reference
    print(row("Adam recipe, one at a time", residuals, adam_seconds))
    print(row("the fit on the same meshes", result.residual_mm[:reference], seconds))
    print(f"\nratio of fits per second: {adam_seconds / seconds:.0f}")


def options(count: int) -> None:
    """What each option does to residual and time."""
    meshes = held_out(count)
    print("| options | residual mean, mm | 95 %, mm | shape, rms | ms per fit |\n| --- | --- | --- | --- | --- |")
    for changed in OPTIONS:
        result, seconds = timed(Fitter.to_render(RENDER, ANNOTATION, Fit(**changed)), meshes)
        name = ", ".join(f"`{key}` {value:g}" for key, value in changed.items()) or "defaults"
        spread, residuals = np.sqrt((result.shape**2).mean()), result.residual_mm
        figures = f"{residuals.mean():.3f} | {np.percentile(residuals, 95):.3f} | {spread:.2f} | {seconds * 1e3:.1f}"
        print(f"| {name} | {figures} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--options", action="store_true", help="the table of docs/fit.md")
    parser.add_argument("--count", type=int, default=1000, help="held-out meshes (256 do for --options)")
    parser.add_argument("--reference", type=int, default=16, help="meshes given to the Adam recipe")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    options(arguments.count) if arguments.options else compare(arguments.count, arguments.reference)
