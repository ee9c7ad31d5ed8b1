"""HandSynthesis' layout (Zhao et al., CVPR 2025): a folder a hand as its main.py writes it, its renderer's images.

Points are in millimetres in the frame of the release's files, in which its first camera sees (x, y, z) at
(x, -z, y + 500); so the camera of every sample stands at the same place, and its K is the store's.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from handgap.core.conventions import FINGERTIPS, HANDSYNTHESIS_TO_SIMPLE, MM, TIP_VERTICES, MaskLabel
from handgap.core.errors import ConfigError
from handgap.core.files import read_arrays
from handgap.core.images import decode_mask, decode_rgb
from handgap.export.folder import JsonList, dumps, plain
from handgap.export.job import Format, Job
from handgap.export.records import Record
from handgap.hands.render_hand import RenderHand
from handgap.hands.skin.model import TextureModel
from handgap.render.nimble_sample import JOINTS, MAPS, OFF_TIP, SKIN, VERTICES
from handgap.render.released import NIMBLE_TO_WORLD, extrinsics

FIRST_CAMERA = 0
OTHER_VERTICES = "annotation_vertices.json"  # of a mesh that is not MANO's
PARAMETERS = ("render_pose", "render_shape", "render_trans", "texture")
MATERIAL = "skin.mtl"
_MATERIAL_TEXT = """newmtl material_0
Ka 0.200000 0.200000 0.200000
Kd 0.800000 0.800000 0.800000
Ks 1.000000 1.000000 1.000000
Tr 1.000000
illum 2
Ns 0.000000
map_Kd diffuse.png
"""
SLACK_MM = 0.1  # between the residual as fitted and as found again
DEFAULT_SPECULAR = 128  # Blender's 0.5, for texture models without a specular map


def to_files(points: np.ndarray) -> np.ndarray:
    """Points (..., 3) in metres, camera frame -> millimetres in the frame of the files; undoes `released.to_camera`."""
    matrix = extrinsics(FIRST_CAMERA)
    return (points - matrix[:3, 3]) @ (matrix[:3, :3] @ NIMBLE_TO_WORLD) / MM


def _png(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


class Skin:
    """The render hand's skin without forearm, as OBJ files and texture maps.

    Args:
        model: converted render hand (.npz).
        textures: converted texture model (.npz), or None for plain hands.
    """

    def __init__(self, model: Path, textures: Path | None):
        self._model, self._hand = model, RenderHand.load(model)
        arrays = read_arrays(model, ["faces_stump", "uv", "uv_faces_stump"])
        self._used, faces = np.unique(arrays["faces_stump"], return_inverse=True)
        corners = np.stack([faces.reshape(-1, 3), arrays["uv_faces_stump"]], -1).reshape(-1, 6) + 1
        lines = ["usemtl material_0", *("vt {:.6f} {:.6f}".format(*point) for point in arrays["uv"])]
        lines += ["f {0}/{1}/{0} {2}/{3}/{2} {4}/{5}/{4}".format(*corner) for corner in corners.tolist()]
        self._topology = "\n".join(lines) + "\n"
        self._textures = TextureModel.load(textures) if textures else None

    def points(self, record: Record) -> np.ndarray:
        """(V, 3) metres, camera frame, of the vertices that faces use.

        Raises:
            ConfigError: the hand is further from the sample's annotation than the fit says: it is another model's.
        """
        parameters = (torch.as_tensor(record[name][None], dtype=torch.float32) for name in PARAMETERS[:3])
        with torch.inference_mode():
            vertices = self._hand(*parameters).vertices
            annotation = self._hand.to_annotation(vertices)[0].numpy()
        if record.labelled("residual_mm", "vertices"):
            off = np.linalg.norm(annotation - record["vertices"], axis=1).mean() / MM
            if off > record["residual_mm"] + SLACK_MM:
                problem = (
                    f"{record.origin} was fitted with another hand: {off:.1f} mm off, {record['residual_mm']:.1f} then"
                )
                raise ConfigError(
                    f"--render-hand {self._model}", problem, "name the model that the fit stage was run with"
                )
        return vertices[0].numpy()[self._used].astype(np.float64)

    def obj(self, record: Record) -> str:
        """Text of skin.obj."""
        lines = "\n".join("v {:.5f} {:.5f} {:.5f}".format(*point) for point in to_files(self.points(record)).tolist())
        return f"mtllib {MATERIAL}\n{lines}\n{self._topology}"

    def maps(self, record: Record) -> dict[str, np.ndarray]:
        """Texture maps by file name; none without a texture model or for a store without textures."""
        if self._textures is None or "texture" not in record:
            return {}
        found = self._textures.maps(record["texture"])
        flat = np.full_like(found["diffuse"], DEFAULT_SPECULAR)
        return {file: found.get(name, flat) for name, file in MAPS.items()} | {
            f"{name}.png": pixels[..., 0] for name, pixels in found.items() if name not in MAPS
        }


def _is_mano(joints: np.ndarray, vertices: np.ndarray) -> bool:
    """Whether the mesh is MANO's, whose fingertips FreiHAND's table knows."""
    tips = vertices[list(TIP_VERTICES["freihand"])]
    return bool(np.linalg.norm(joints[list(FINGERTIPS)] - tips, axis=1).max() <= OFF_TIP)


def sample_files(record: Record, skin: Skin) -> dict[str, bytes]:
    """Files of one hand's folder by name."""
    joints = np.empty((len(HANDSYNTHESIS_TO_SIMPLE), 3))
    joints[HANDSYNTHESIS_TO_SIMPLE] = record["joints"]  # the files have MANO's order, tips behind their fingers
    lists: dict[str, object] = {JOINTS: to_files(joints)}
    if record.labelled("vertices"):
        name = VERTICES if _is_mano(record["joints"], record["vertices"]) else OTHER_VERTICES
        lists[name] = to_files(record["vertices"].astype(np.float64))
    lists |= {f"{name}.json": record[name] for name in PARAMETERS if name in record}
    lists["K.json"] = record["K"]
    files = {SKIN: skin.obj(record).encode(), MATERIAL: _MATERIAL_TEXT.encode()}
    files |= {name: _png(pixels) for name, pixels in skin.maps(record).items()}
    return files | {name: dumps(plain(values)).encode() for name, values in lists.items()}


def image_files(record: Record) -> Mapping[str, bytes]:
    """Images by folder: the picture, the hand's pixels as 255, depth in millimetres."""
    files = {}
    if "image" in record:
        files["rgb_1"] = record["image"]
        if record.suffix() != "png":
            files["rgb_1"] = _png(decode_rgb(np.frombuffer(record["image"], np.uint8), record.origin))
    if "mask" in record:
        labels = decode_mask(np.frombuffer(record["mask"], np.uint8), record.origin)
        files["segmentation_1"] = _png(np.where(labels == MaskLabel.HAND, 255, 0).astype(np.uint8))
    if "depth" in record:
        files["depth_1"] = record["depth"]
    return files


def write(folder: Path, records: Iterator[Record], job: Job) -> None:
    """Write samples/ID/, images/ and the cameras, in the order of the samples."""
    textures = job.textures if "texture" in job.fields else None
    skin = Skin(job.model("render_hand", "the hand's skin is made with it"), textures)
    with ExitStack() as stack:
        cameras, ids = (stack.enter_context(JsonList(folder / f"{name}.json")) for name in ("cam_RT_syn_data_0", "ids"))
        for record in records:
            name = f"{record.id:08d}"
            hand = folder / "samples" / name
            hand.mkdir(parents=True)
            for file, data in sample_files(record, skin).items():
                (hand / file).write_bytes(data)
            for kind, data in image_files(record).items():
                images = folder / "images" / kind
                images.mkdir(parents=True, exist_ok=True)
                (images / f"{name}.png").write_bytes(data)
            cameras.append(extrinsics(FIRST_CAMERA))
            ids.append(record.id)


HANDSYNTHESIS = Format(
    write,
    requires=("K", "joints", *PARAMETERS[:3]),
    conventions={
        "frame": "the release's: x right, y away from the first camera, z up; millimetres, that camera 500 before it",
        "joints": "wrist, index, middle, pinky, ring, thumb, base to tip (MANO's order)",
        "vertices": f"{VERTICES}: of MANO's mesh; {OTHER_VERTICES}: of another annotation hand's",
        "render_pose": "axis-angle of the render hand's 20 bones, radians; the release's pose_params.json is NIMBLE's",
        "K": "px, one a sample (the release has 355 px for all); a pixel's centre is at integer + 0.5",
        "depth_1": "16-bit PNG, millimetres along the optical axis (the release has a picture of it)",
        "spec.png": f"{DEFAULT_SPECULAR} everywhere if the texture model has no such map; roughness.png is its own",
        "hands": "right; a left hand is written as its mirror image",
    },
    right_only=True,
)
