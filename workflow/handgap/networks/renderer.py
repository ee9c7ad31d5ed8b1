"""Differentiable pictures of a hand with one colour a face, for S2HAND's photometric losses; PyTorch3D rasterises.

In place of the release's neural renderer: flat faces, ambient and directional light, white background, the crop's own
camera. Colours and light get exact gradients. A hard rasteriser gives none for where a face lies in the picture (its
descendant HiFiHR has none either); geometry gets those of the shading, through the faces' normals.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Light(NamedTuple):
    """Light of each picture."""

    ambient: Tensor  # (B, 3) colour times intensity
    directional: Tensor  # (B, 3) colour times intensity
    direction: Tensor  # (B, 3) unit vectors towards the light, camera frame


def shade(vertices: Tensor, faces: Tensor, colours: Tensor, light: Light) -> Tensor:
    """Colours of faces under a light (Lambert): colour * (ambient + directional * max(0, normal . direction)).

    Args:
        vertices: (B, V, 3) camera frame.
        faces: (F, 3), anticlockwise seen from outside.
        colours: (B, F, 3).
        light: of each picture.
    """
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    normals = functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    facing = (normals @ light.direction[..., None]).clamp_min(0)
    return colours * (light.ambient[:, None] + light.directional[:, None] * facing)


@torch.no_grad()
def visible_faces(vertices: Tensor, faces: Tensor, K: Tensor, size: int) -> Tensor:
    """Nearest face at each pixel's centre.

    Args:
        vertices: (B, V, 3) metres, OpenCV camera frame.
        faces: (F, 3).
        K: (B, 3, 3) intrinsics of pictures of size x size px.
        size: px.

    Returns:
        (B, size, size) int64; -1 where there is none.
    """
    # here, and not above: only the stages with a photometric loss need PyTorch3D
    from pytorch3d.renderer import MeshRasterizer, RasterizationSettings
    from pytorch3d.structures import Meshes
    from pytorch3d.utils import cameras_from_opencv_projection

    count = len(vertices)
    cameras = cameras_from_opencv_projection(
        torch.eye(3, device=K.device).expand(count, 3, 3),
        torch.zeros(count, 3, device=K.device),
        K,
        torch.full((count, 2), size, device=K.device),
    )
    options = RasterizationSettings(image_size=size, faces_per_pixel=1, bin_size=0)
    fragments = MeshRasterizer(cameras, options)(Meshes(vertices, faces.expand(count, *faces.shape)))
    packed = fragments.pix_to_face[..., 0]
    return torch.where(packed < 0, packed, packed % len(faces))


def render(
    vertices: Tensor, faces: Tensor, colours: Tensor, light: Light, K: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Pictures of hands on white.

    Args:
        vertices, faces, K, size: see `visible_faces`.
        colours, light: see `shade`.

    Returns:
        RGB (B, 3, size, size) and silhouettes (B, size, size), 1 where the hand is.
    """
    found = visible_faces(vertices, faces, K, size)
    shaded = shade(vertices, faces, colours, light)
    index = found.clamp_min(0).flatten(1)[..., None].expand(-1, -1, 3)
    rgb = shaded.gather(1, index).unflatten(1, (size, size)).permute(0, 3, 1, 2)
    hand = found >= 0
    return torch.where(hand[:, None], rgb, torch.ones_like(rgb)), hand.to(rgb.dtype)
