"""Amplitude augmentation where training calls it: which images, which targets, which step."""

import numpy as np
import pytest
import torch
from handgap.compose.amplitude import swap_amplitude
from handgap.core.config.networks import SimpleHandNetwork
from handgap.core.config.train import Amplitude, Train
from handgap.core.errors import ConfigError
from handgap.data.augment import training_sample
from handgap.data.batches import Mixture, Source
from handgap.data.samples import Samples
from handgap.networks.build import build
from handgap.train.loop import TrainingRun
from toys import toy_hand, toy_store

SETTINGS = Train(image_size=64, batch=4, epochs=1)
FDA = Amplitude(method="fda", window=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("amplitude")
    hand = toy_hand(folder / "hand.npz")
    toy_store(folder / "synthetic.h5", hand, range(8))
    toy_store(folder / "real.h5", hand, range(100, 106))
    return folder


def new_run(folder, amplitude, targets):
    network = build(
        SimpleHandNetwork(backbone="test_efficientnet", pretrained=False),
        toy_hand(folder / "hand.npz"),
        None,
        SETTINGS.image_size,
    )
    mixture = Mixture([Source(Samples([folder / "synthetic.h5"]), True, 1.0)], SETTINGS, 3)
    return TrainingRun(network, mixture, SETTINGS, amplitude, folder / "state", "same", targets)


def test_fda_takes_the_amplitudes_of_crops_of_real_images(folder):
    targets = Samples([folder / "real.h5"])
    run = new_run(folder, FDA, targets)
    images, synthetic = torch.rand(4, 3, 64, 64), torch.tensor([True, False, True, True])
    changed = run._with_amplitude(images, synthetic, 5, 0)
    assert torch.equal(changed[1], images[1])
    crops = [training_sample(targets[row], 64, SETTINGS.box_expansion)["image"] for row in range(len(targets))]
    candidates = [swap_amplitude(images, torch.from_numpy(np.stack([crop] * 4)), 0.1).clamp(0, 1) for crop in crops]
    for index in (0, 2, 3):
        apart = [float((changed[index] - candidate[index]).abs().max()) for candidate in candidates]
        assert min(apart) < 1e-5
    assert torch.equal(changed, run._with_amplitude(images, synthetic, 5, 0))
    assert not torch.equal(changed, run._with_amplitude(images, synthetic, 6, 0))


def test_fda_without_real_images_is_refused(folder):
    with pytest.raises(ConfigError, match=r"amplitude.method: fda needs real images"):
        new_run(folder, FDA, None)
