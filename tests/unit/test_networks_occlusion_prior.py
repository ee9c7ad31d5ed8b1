import numpy as np
import pytest
import torch
from handgap.core.geometry import random_rotation
from handgap.networks.occlusion_prior import OcclusionPrior, Reconstruction, mask_joints, palm_frames, prior_loss


@pytest.fixture
def hands():
    return 0.05 * torch.randn(8, 21, 3, generator=torch.Generator().manual_seed(0))


def turns(count):
    generator = np.random.default_rng(3)
    return torch.from_numpy(np.stack([random_rotation(generator) for _ in range(count)])).float()


def test_it_has_the_released_number_of_parameters():
    prior = OcclusionPrior()
    assert sum(p.numel() for p in prior.encoder.parameters()) == 590_912
    assert sum(p.numel() for p in prior.parameters()) == 1_690_751


def test_loss_by_hand():
    truth = torch.zeros(2, 21, 3)
    joints = truth.clone()
    joints[0, 3, 1] = 0.6
    mean, log_variance = torch.zeros(2, 32), torch.zeros(2, 32)
    mean[1, 0], log_variance[0, 5] = 2.0, np.log(3.0)
    total, terms = prior_loss(Reconstruction(joints, mean, log_variance), truth, 0.01)
    kl = 0.5 * 2.0**2 - 0.5 * (1 + np.log(3.0) - 3.0)
    assert float(terms["joints"]) == pytest.approx(0.36 / 126)
    assert float(terms["kl"]) == pytest.approx(0.01 * kl / 126)
    assert float(total) == pytest.approx((0.36 + 0.01 * kl) / 126)


def test_the_second_half_of_the_encoders_output_is_the_mean(hands):
    prior = OcclusionPrior().eval()
    with torch.no_grad():
        prior.encoder[-1].weight.zero_()
        prior.encoder[-1].bias.copy_(torch.arange(64.0))
        _, mean, log_variance = prior(hands)
    assert torch.equal(log_variance[0], torch.arange(32.0)) and torch.equal(mean[0], torch.arange(32.0, 64.0))


def test_evaluation_takes_the_mean_and_training_draws(hands):
    prior = OcclusionPrior()
    with torch.no_grad():
        drawn = [prior(hands).joints for _ in range(2)]
        prior.eval()
        fixed = [prior(hands) for _ in range(2)]
        assert torch.equal(fixed[0].joints.flatten(1), prior.decoder(fixed[0].mean))
    assert not torch.equal(*drawn) and torch.equal(fixed[0].joints, fixed[1].joints)


def test_whole_joints_are_masked_independently_the_wrist_too():
    joints = torch.ones(4000, 21, 3)
    masked = mask_joints(joints, 0.5, torch.Generator().manual_seed(0))
    kept = masked[..., 0]
    assert ((masked == 0) | (masked == 1)).all() and torch.equal(masked, kept[..., None].expand_as(masked))
    assert (kept.mean(0) - 0.5).abs().max() < 0.04  # five standard deviations
    correlation = np.corrcoef(kept.numpy().T) - np.eye(21)
    assert np.abs(correlation).max() < 0.08
    assert torch.equal(mask_joints(joints, 0.0, torch.Generator()), joints)


def test_the_palms_frame_turns_with_the_hand(hands):
    frames, rotation = palm_frames(hands), turns(8)
    turned = palm_frames(hands @ rotation.transpose(1, 2) + 0.7)
    torch.testing.assert_close(turned, frames @ rotation.transpose(1, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(frames @ frames.transpose(1, 2), torch.eye(3).expand(8, 3, 3), atol=1e-5, rtol=0)
    assert (torch.linalg.det(frames) > 0).all()


@pytest.mark.parametrize("frame", ["camera", "palm"])
def test_refined_hands_stand_where_the_prediction_stood(hands, frame):
    torch.manual_seed(0)
    prior = OcclusionPrior(frame).eval()
    shift, rotation = torch.tensor([0.1, -0.2, 0.6]), turns(8)
    with torch.no_grad():
        here, there = prior.refine(hands), prior.refine(hands + shift)
        turned = prior.refine(hands @ rotation.transpose(1, 2))
    torch.testing.assert_close(there, here + shift, atol=1e-5, rtol=0)
    follows = torch.allclose(turned, here @ rotation.transpose(1, 2), atol=1e-5)
    assert follows == (frame == "palm")
