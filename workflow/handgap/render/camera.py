"""The camera of the proxy-real side: white balance, exposure, vignette, motion blur, sensor noise and JPEG.

Works on scene-linear light, where lenses and sensors do; the tone curve is the one of the synthetic side.
"""

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from handgap.core.config.dataset import Dataset
from handgap.core.images import encode_jpeg
from handgap.render.light import meter, tone_map, white_balance

EXPOSURE_STOPS = 0.3  # standard deviation about the meter's reading
SHOT, READ = 0.0003, 0.002  # noise variance per unit signal, and standard deviation in the dark, of full scale
JPEG_QUALITY = (90, 99)  # from, up to but not including


@dataclass(frozen=True)
class Camera:
    """One camera and how it is set; the pictures of a sequence share it.

    Attributes:
        balance: 0..1, share of the light's colour that it takes away.
        tint: (3,) gains, an error of the white balance.
        exposure: gain on the meter's.
        vignette: share of light lost in the corners.
        iso: gain of the sensor's noise.
        quality: of JPEG.
    """

    balance: float
    tint: np.ndarray
    exposure: float
    vignette: float
    iso: float
    quality: int

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Self:
        """A random camera."""
        tint = np.exp(generator.normal(0.0, 0.035, 3))
        return cls(
            balance=generator.uniform(0.7, 1.0),
            tint=tint / tint[1],
            exposure=np.exp2(generator.normal(0.0, EXPOSURE_STOPS)),
            vignette=generator.uniform(0.0, 0.35),
            iso=np.exp2(generator.uniform(-3.0, 0.0)),
            quality=int(generator.integers(*JPEG_QUALITY)),
        )

    def develop(
        self,
        linear: np.ndarray,
        subject: np.ndarray,
        albedo: np.ndarray,
        generator: np.random.Generator,
        settings: Dataset,
    ) -> np.ndarray:
        """A photograph of scene-linear light.

        Args:
            linear: (H, W, 3) float, Rec. 709 primaries.
            subject: (H, W) bool, the hand's skin, which the camera meters.
            albedo: (3,) mean linear colour of the skin.
            generator: of motion blur and noise.
            settings: how much of both.

        Returns:
            (H, W, 3) uint8 sRGB.
        """
        light = linear * (white_balance(linear, subject, self.balance, albedo) * self.tint)
        light = light * meter(light, subject, albedo) * self.exposure
        light = light * _vignette(light.shape[:2], self.vignette)[..., None]
        length, angle = generator.uniform(1.0, 4.0), generator.uniform(0.0, np.pi)
        if generator.random() < settings.motion_blur_ratio:
            light = cv2.filter2D(light.astype(np.float32), -1, _streak(length, angle), borderType=cv2.BORDER_REPLICATE)
        gain = settings.noise * self.iso
        deviation = np.sqrt(gain * SHOT * np.maximum(light, 0.0) + (gain * READ) ** 2)
        noisy = light + deviation * generator.normal(size=light.shape)
        return np.rint(255.0 * tone_map(noisy)).astype(np.uint8)

    def photograph(
        self,
        linear: np.ndarray,
        subject: np.ndarray,
        albedo: np.ndarray,
        generator: np.random.Generator,
        settings: Dataset,
    ) -> np.ndarray:
        """`develop`, then JPEG: the file's bytes as a uint8 array."""
        return encode_jpeg(self.develop(linear, subject, albedo, generator, settings), self.quality)


def _vignette(shape: tuple[int, int], loss: float) -> np.ndarray:
    """Share of light (H, W) left: none lost in the middle, `loss` in the corners (cos^4-like, r^2)."""
    y, x = (np.linspace(-1, 1, n) ** 2 for n in shape)
    return 1.0 - loss * (y[:, None] + x[None]) / 2.0


def _streak(length: float, angle: float) -> np.ndarray:
    """Kernel (k, k), sum 1, of a straight motion of `length` px at `angle`."""
    half = int(np.ceil(length / 2))
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1.0 - np.abs(across), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)
