import subprocess
import sys

import numpy as np
import pytest
import torch
from handgap.networks.renderer import Light, render, shade, visible_faces
from handgap.render.labels import rasterise
from toys import ball

pytest.importorskip("pytorch3d")
SIZE = 40


def scene():
    """Two balls of 162 vertices before two cameras, off the axis and of other focal lengths."""
    vertices, faces = ball(2)
    places = np.array([[0.03, -0.02, 0.5], [-0.05, 0.06, 0.4]])
    balls = torch.tensor(0.08 * vertices[None] + places[:, None], dtype=torch.float32)
    K = torch.tensor([[[80.0, 0, 18], [0, 90, 23], [0, 0, 1]], [[60.0, 0, 20], [0, 60, 20], [0, 0, 1]]])
    return balls, torch.tensor(faces), K


def white(count, direction=(0.0, 0.0, -1.0), ambient=0.4, directional=0.6):
    values = (torch.full((count, 3), ambient), torch.full((count, 3), directional))
    return Light(*values, torch.tensor(direction).expand(count, 3))


def test_faces_seen_are_those_of_an_independent_rasteriser():
    balls, faces, K = scene()
    found = visible_faces(balls, faces, K, SIZE).numpy()
    for index in range(2):
        expected, _ = rasterise(balls[index].numpy(), faces.numpy(), K[index].numpy(), SIZE, SIZE)
        assert (expected >= 0).sum() > 100
        # a pixel's centre on an edge may fall to either side
        assert (found[index] != expected).mean() < 0.005
        assert ((found[index] >= 0) != (expected >= 0)).mean() < 0.005


def test_shade_by_hand():
    vertices = torch.tensor([[[0.0, 0, 1], [1, 0, 1], [0, 1, 1]]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 2]])  # normals towards the camera and away from it
    colours = torch.tensor([[[0.5, 0.2, 1.0], [0.5, 0.2, 1.0]]])
    light = Light(torch.tensor([[0.1, 0.2, 0.3]]), torch.tensor([[1.0, 1.0, 0.5]]), torch.tensor([[0.0, 0.6, -0.8]]))
    expected = [[0.5 * 0.9, 0.2 * 1.0, 1.0 * 0.7], [0.5 * 0.1, 0.2 * 0.2, 1.0 * 0.3]]
    torch.testing.assert_close(shade(vertices, faces, colours, light), torch.tensor([expected]))


def test_pictures_are_white_around_the_hand_and_faces_have_their_colour():
    balls, faces, K = scene()
    colours = torch.rand(2, len(faces), 3)
    light = white(2, ambient=1.0, directional=0.0)
    rgb, silhouette = render(balls, faces, colours, light, K, SIZE)
    found = visible_faces(balls, faces, K, SIZE)
    assert torch.equal(silhouette, (found >= 0).float())
    assert (rgb.permute(0, 2, 3, 1)[found < 0] == 1).all()
    row, column = np.argwhere(found[1].numpy() >= 0)[7]
    torch.testing.assert_close(rgb[1, :, row, column], colours[1, found[1, row, column]])


def test_gradients_of_colours_light_and_shape():
    balls, faces, K = scene()
    found = visible_faces(balls, faces, K, SIZE)
    balls.requires_grad_()
    colours = torch.full((2, len(faces), 3), 0.5, requires_grad=True)
    intensity = torch.full((2, 3), 0.6, requires_grad=True)
    light = white(2)._replace(directional=intensity)
    rgb, silhouette = render(balls, faces, colours, light, K, SIZE)
    (rgb * silhouette[:, None]).sum().backward()
    lit = shade(balls, faces, torch.ones_like(colours), light)
    counts = torch.stack([torch.bincount(part[part >= 0], minlength=len(faces)) for part in found])
    torch.testing.assert_close(colours.grad, counts[..., None] * lit, atol=1e-4, rtol=1e-4)
    assert (intensity.grad > 0).all()
    assert balls.grad.abs().sum() > 0  # through the normals: a face turned to the light is brighter


def test_the_package_comes_without_pytorch3d():
    code = "import sys; sys.modules['pytorch3d'] = None; import handgap.networks.build, handgap.train.step"
    subprocess.run([sys.executable, "-c", code], check=True)
