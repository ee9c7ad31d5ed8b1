"""The camera of the proxy-real side: from scene-linear light to a photograph with a photograph's faults."""

import cv2
import numpy as np

from handgap.render.light import meter, tone_map, white_balance

STOPS = 0.45  # standard deviation of the exposure about the meter's reading
BLUR_SHARE, BLUR_PX = 0.25, 5.0  # share of pictures with motion blur, its greatest length
VIGNETTE = 0.35  # greatest loss of light in the corners
READ_NOISE = 0.002
SHOT_NOISE = (0.0004, 0.004)  # variance per unit of light, from base to high ISO


def develop(linear: np.ndarray, subject: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A photograph of scene-linear light.

    In the order of a real camera: the hand moves during the exposure, the lens darkens the corners, the sensor adds shot
    and read noise (Foi et al. 2008, Poisson-Gaussian), the processor balances white imperfectly and applies its tones.

    Args:
        linear: (H, W, 3) scene-linear Rec. 709.
        subject: (H, W) bool, what the meter reads.
        generator: the sample's own.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    light = _motion_blur(linear.astype(np.float64), generator) * _vignette(linear.shape[:2], generator)[..., None]
    balance = white_balance(light, subject, generator.uniform(0.0, 0.6)) * np.exp(generator.normal(0, 0.03, 3))
    light = light * balance
    light *= meter(light, subject) * 2.0 ** generator.normal(0.0, STOPS)
    gain = np.exp(generator.uniform(*np.log(SHOT_NOISE)))
    deviation = np.sqrt(gain * np.maximum(light, 0.0) + READ_NOISE**2)
    light = light + deviation * generator.normal(size=light.shape)
    tones = tone_map(light)
    contrast = generator.uniform(0.9, 1.2)
    return np.rint(255.0 * np.clip(0.5 + (tones - 0.5) * contrast, 0.0, 1.0)).astype(np.uint8)


def _motion_blur(linear: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The whole picture drawn out along one direction; labels hold for the middle of the exposure."""
    share, length, angle = generator.uniform(), generator.uniform(1.5, BLUR_PX), generator.uniform(0, np.pi)
    if share > BLUR_SHARE:
        return linear
    radius = int(np.ceil(length / 2))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    for t in np.linspace(-length / 2, length / 2, 33):
        x, y = radius + t * np.cos(angle), radius + t * np.sin(angle)
        kernel[round(y), round(x)] += 1
    return cv2.filter2D(linear, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def _vignette(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Fall-off (H, W) towards the corners, quadratic in the radius."""
    y, x = np.indices(shape)
    centre = (np.array(shape) - 1) / 2
    radius = np.hypot(y - centre[0], x - centre[1]) / np.hypot(*centre)
    return 1.0 - generator.uniform(0.0, VIGNETTE) * radius**2
