import numpy as np
import pytest
from handgap.core.config.dataset import Dataset
from handgap.core.images import decode_rgb
from handgap.render.camera import Camera, _streak
from handgap.render.light import SKIN

SUBJECT = np.zeros((64, 64), bool)
SUBJECT[16:48, 16:48] = True


def developed(linear, seed=0, **settings):
    generator = np.random.default_rng(seed)
    return Camera.draw(generator).develop(linear, SUBJECT, SKIN, generator, Dataset(**settings))


def test_pictures_of_one_camera_differ_by_noise_alone():
    light, camera = np.random.default_rng(0).uniform(0.1, 0.9, (64, 64, 3)), Camera.draw(np.random.default_rng(2))
    settings = Dataset(noise=0.3, motion_blur_ratio=0.0)
    first, second = (
        camera.develop(light, SUBJECT, SKIN, np.random.default_rng(k), settings).astype(int) for k in (0, 1)
    )
    assert 0 < np.abs(first - second).mean() < 5
    assert abs(first.mean() - second.mean()) < 0.2


def test_same_generator_same_picture_whatever_the_scale_of_light():
    light = np.random.default_rng(0).uniform(0.1, 0.9, (64, 64, 3))
    assert np.array_equal(developed(light), developed(light))
    # the camera meters: a scene ten times brighter gives the same picture, up to rounding
    assert np.abs(developed(light).astype(int) - developed(10 * light)).max() <= 1
    assert not np.array_equal(developed(light), developed(light, seed=1))


def test_noise_grows_with_its_setting_and_vanishes_at_zero():
    flat = np.full((64, 64, 3), 0.2)
    spread = [developed(flat, noise=n, motion_blur_ratio=0.0)[24:40, 24:40].std(axis=(0, 1)).mean() for n in (0, 1, 4)]
    assert spread[0] < 0.8 < spread[1] < spread[2]


@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2])
def test_motion_streak_keeps_light_and_place(angle):
    kernel = _streak(5.0, angle)
    half = len(kernel) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    assert abs((kernel * x).sum()) < 1e-5 and abs((kernel * y).sum()) < 1e-5
    # variance of a line of length 5 px along its direction
    along = x * np.cos(angle) + y * np.sin(angle)
    assert (kernel * along**2).sum() == pytest.approx(5.0**2 / 12, rel=0.25)


def test_photograph_is_a_jpeg_of_the_developed_picture():
    light = np.full((64, 64, 3), 0.3)
    generator = np.random.default_rng(0)
    data = Camera.draw(generator).photograph(light, SUBJECT, SKIN, generator, Dataset(noise=0.0))
    assert bytes(data[:2]) == b"\xff\xd8"
    assert np.abs(decode_rgb(data).astype(int) - developed(light, noise=0.0)).mean() < 3
