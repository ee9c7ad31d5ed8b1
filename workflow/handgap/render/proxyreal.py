"""The proxy-real side: what the synthetic side lacks, with labels as exact.

Forearms, sleeves and straps, held objects in a stable grasp, other people's skin, a lens and a camera with their faults.
The skins are those the synthetic side never uses. Of skins and scenes, every fourth belongs to the split "test" alone and
the others to the other splits, so that no test picture shows a person or a place of a training picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from handgap.core.config.dataset import Dataset
from handgap.core.config.render import Render
from handgap.core.conventions import MaskLabel, Side
from handgap.core.geometry import project, random_rotation
from handgap.core.images import encode_depth, encode_jpeg, encode_mask
from handgap.core.seeds import integer_seed, rng
from handgap.hands.layers import AnnotationHand, RenderHand
from handgap.hands.prior import PosePrior
from handgap.render.camera import develop
from handgap.render.garments import Forearm, sleeve, strap
from handgap.render.grasp import Grasper, GraspError
from handgap.render.labels import label
from handgap.render.light import draw_light
from handgap.render.objects import random_object
from handgap.render.shard import Row
from handgap.render.spec import GeometryError, Lens, MeshPart, SceneSpec, SkinMaterial
from handgap.render.synthetic import blank, map_name
from handgap.render.worker import Renderer

TEST_SHARE = 4  # every fourth skin and scene is the test split's
OBJECT_TRIES, VIEW_TRIES = 8, 200
WRIST_BEND = np.radians([14.0, 3.0, 8.0])  # standard deviations: flexion, twist, deviation
HAND_SHARE = (0.42, 0.72)  # of the picture's edge that the hand's box takes
DISTANCE = (0.35, 0.9)  # metres
NEAREST = 0.12  # metres: nothing of the arm comes closer to the lens
STRAP_SHARE = 0.2  # of bare forearms
FSTOPS = (2.8, 16.0)
JPEG_QUALITY = (75, 96)
ANATOMY = ("render_pose", "render_shape", "render_trans")


@dataclass(frozen=True)
class ProxySample:
    """A scene and its labels.

    Attributes:
        scene: what is rendered.
        labels: columns `joints`, `vertices`, `pose`, `shape`, `trans`, `render_pose`, `render_shape`, `render_trans`, `K`.
        thing: kind of the held object, "" for none.
    """

    scene: SceneSpec
    labels: dict[str, np.ndarray]
    thing: str


class ProxyRealShard:
    """Rows of one proxy-real shard.

    Args:
        render_hand, annotation_hand: hand models (.npz).
        skins: indices of the proxy-real skins.
        hdris: all environment maps, sorted.
        settings, dataset: the render section and the dataset's own.
        seed: the study's seed.
        split: "dataset/split".
    """

    def __init__(
        self,
        render_hand: Path,
        annotation_hand: Path,
        skins: Sequence[int],
        hdris: Sequence[Path],
        settings: Render,
        dataset: Dataset,
        seed: int,
        split: str,
    ):
        self._hand, self._annotation = RenderHand.load(render_hand), AnnotationHand.load(annotation_hand)
        self._prior = PosePrior.load(render_hand)
        self._grasper = Grasper(self._hand, self._prior)
        with np.load(render_hand, allow_pickle=False) as arrays:
            self._faces, arm = arrays["faces_forearm"].astype(np.int32), arrays["arm_faces"]
            self._uv, self._uv_faces = arrays["uv"], arrays["uv_faces_forearm"]
            self._arm = Forearm(arrays["v_template"], self._faces[arm])
        self._face_labels = np.where(arm, MaskLabel.ARM, MaskLabel.HAND).astype(np.uint8)
        self._elbow = np.unique(self._arm.faces[self._arm.rest[self._arm.faces][..., 1].max(1) < self._elbow_line()])
        test = split.endswith("/test")
        self._skins = [s for k, s in enumerate(skins) if (k % TEST_SHARE == TEST_SHARE - 1) == test]
        self._hdris = [h for k, h in enumerate(hdris) if (k % TEST_SHARE == TEST_SHARE - 1) == test]
        self._settings, self._dataset, self._seed = settings, dataset, seed
        self._stage = f"render/proxyreal/{split}"

    def _elbow_line(self) -> float:
        """Rest y below which the last 2 cm of the forearm lie."""
        return float(self._arm.rest[np.unique(self._arm.faces), 1].min()) + 0.02

    def sample(self, number: int) -> ProxySample:
        """Scene and labels of one sample.

        Raises:
            GeometryError: no stable grasp, or no view in which the arm leaves the picture.
        """
        g = rng(self._seed, self._stage, number)
        shape = self._prior.sample_shape(g)
        holds, sleeved, strapped = g.random(3) < (
            self._dataset.held_object_ratio,
            self._dataset.sleeve_ratio,
            STRAP_SHARE,
        )
        thing, grasp = self._take(shape, g) if holds else (None, None)
        pose = grasp.pose.copy() if grasp else self._prior.sample_pose(g)
        forearm = g.normal(size=3) * WRIST_BEND
        rest = self._posed(pose, shape, np.zeros(3), forearm)
        turn, K, shift = self._view(rest, g)
        pose[:3] = (Rotation.from_matrix(turn) * Rotation.from_rotvec(pose[:3])).as_rotvec()
        wrist = self._wrist(shape)
        # the layer turns about the wrist joint: x -> R (x - w) + w + trans
        trans = turn @ wrist + shift - wrist
        vertices = rest @ turn.T + shift
        skin = SkinMaterial(int(g.choice(self._skins)), self._settings.subsurface, g.uniform(0.8, 1.2))
        parts = [MeshPart("hand", vertices, self._faces, self._face_labels, skin, self._uv, self._uv_faces)]
        if thing is not None:
            parts.append(thing.part(turn @ grasp.rotation, turn @ grasp.translation + shift))
        if sleeved:
            parts.append(sleeve(self._arm, vertices, g))
        elif strapped:
            parts.append(strap(self._arm, vertices, g))
        mesh = self._annotation_mesh(vertices)
        joints = self._joints(mesh)
        lens = Lens(float(np.exp(g.uniform(*np.log(FSTOPS)))), float(joints[:, 2].mean()))
        size = self._settings.size
        seed = integer_seed(self._seed, self._stage, number)
        scene = SceneSpec(number, K, size, size, parts, draw_light(g, self._hdris), seed, lens)
        labels = {"joints": joints, "vertices": mesh, "shape": shape[:10], "trans": trans, "K": K}
        labels |= {"pose": self._annotation_pose(pose)} | dict(zip(ANATOMY, (pose, shape, trans), strict=True))
        return ProxySample(scene, {k: v.astype(np.float32) for k, v in labels.items()}, thing.kind if thing else "")

    def row(self, number: int, renderer: Renderer) -> Row:
        """Columns of one sample; one that cannot be made is grey and flagged."""
        base = {"id": np.int64(number), "side": np.uint8(Side.RIGHT)}
        try:
            sample = self.sample(number)
            truth = label(sample.scene, sample.labels["joints"])
        except GeometryError as error:
            return base | self._nothing() | blank(self._settings.size, str(error))
        g = rng(self._seed, f"{self._stage}/camera", number)
        picture = develop(renderer.render(sample.scene), truth.mask > 0, g)
        material = sample.scene.parts[0].material
        return (
            base
            | sample.labels
            | {
                "image": encode_jpeg(picture, int(g.integers(*JPEG_QUALITY))),
                "mask": encode_mask(truth.mask),
                "depth": encode_depth(truth.depth),
                "visibility": truth.visibility,
                "occlusion": np.float32(truth.occlusion),
                "object": sample.thing,
                "hdri": map_name(sample.scene.light.hdri),
                "skin": np.int64(material.skin),
                "valid": True,
                "flag": "",
            }
        )

    def _nothing(self) -> Row:
        sizes = {"joints": (21, 3), "vertices": (778, 3), "pose": 48, "shape": 10, "trans": 3, "K": (3, 3)}
        sizes |= {"render_pose": self._hand.n_pose, "render_shape": self._hand.n_shape, "render_trans": 3}
        zeros = {name: np.zeros(size, np.float32) for name, size in sizes.items()}
        return zeros | {"occlusion": np.float32(0), "object": ""}

    def _take(self, shape: np.ndarray, g: np.random.Generator):
        """A thing that this hand can hold, and the grasp: some things do not fit some hands."""
        for _ in range(OBJECT_TRIES):
            thing = random_object(g)
            try:
                return thing, self._grasper.grasp(thing, shape, g)
            except GraspError:
                continue
        raise GeometryError(f"no stable grasp of {OBJECT_TRIES} objects")

    def _posed(self, pose: np.ndarray, shape: np.ndarray, trans: np.ndarray, forearm: np.ndarray) -> np.ndarray:
        batch = (torch.as_tensor(x[None], dtype=torch.float32) for x in (pose, shape, trans, forearm))
        with torch.inference_mode():
            return self._hand(*batch).vertices[0].numpy().astype(np.float64)

    def _wrist(self, shape: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            output = self._hand(
                torch.zeros(1, self._hand.n_pose), torch.as_tensor(shape[None], dtype=torch.float32), torch.zeros(1, 3)
            )
        return output.joints25[0, 0].numpy().astype(np.float64)

    def _annotation_mesh(self, vertices: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._hand.to_annotation(torch.as_tensor(vertices[None], dtype=torch.float32))[0].numpy()

    def _joints(self, mesh: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._annotation.regress_joints(torch.as_tensor(mesh[None]))[0].numpy()

    def _annotation_pose(self, pose: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._hand.annotation_pose(torch.as_tensor(pose[None], dtype=torch.float32))[0].numpy()

    def _view(self, rest: np.ndarray, g: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotation, intrinsics and shift of a camera anywhere around the hand whose picture the arm leaves."""
        size = self._settings.size
        joints = self._joints(self._annotation_mesh(rest))
        middle = (joints.max(0) + joints.min(0)) / 2
        for _ in range(VIEW_TRIES):
            turn, distance = random_rotation(g), g.uniform(*DISTANCE)
            share, offset, centre = g.uniform(*HAND_SHARE), g.normal(0, 0.03, 2) * size, g.normal(0, 0.01, 2) * size
            shift = np.array([0, 0, distance]) - turn @ middle
            seen = joints @ turn.T + shift
            extent = np.ptp(seen[:, :2] / seen[:, 2:], axis=0).max()
            focal = share * size / extent
            K = np.array([[focal, 0, size / 2 + centre[0]], [0, focal, size / 2 + centre[1]], [0, 0, 1]])
            shift[:2] += (offset - centre) * distance / focal
            vertices = rest @ turn.T + shift
            elbow = vertices[self._elbow]
            if vertices[:, 2].min() < NEAREST:
                continue
            pixels = project(elbow, K)
            if not ((pixels > -2) & (pixels < size + 2)).all(1).any():
                return turn, K, shift
        raise GeometryError("no view in which the forearm leaves the picture")
