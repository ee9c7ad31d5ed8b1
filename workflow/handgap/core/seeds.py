"""Random numbers that depend on (root seed, stage, sample) and on nothing else."""

import hashlib
import os

import numpy as np


def _stage_key(stage: str) -> int:
    return int.from_bytes(hashlib.sha256(stage.encode()).digest()[:4], "little")


def rng(root_seed: int, stage: str, sample_id: int = 0) -> np.random.Generator:
    """Generator of one sample of one stage.

    Sample k draws the same numbers in any shard size, order, worker or machine. Seed 0 is a seed like any other.

    Args:
        root_seed: the study's seed, >= 0.
        stage: name of the stage, e.g. ``"render/synthetic"``.
        sample_id: stable id of the sample, >= 0.
    """
    return np.random.default_rng([root_seed, _stage_key(stage), sample_id])


def integer_seed(root_seed: int, stage: str, sample_id: int = 0) -> int:
    """31-bit seed for libraries that take an integer (Cycles, torch, Lightning)."""
    return int(rng(root_seed, stage, sample_id).integers(2**31 - 1))


def round_alike() -> None:
    """Make MKL round a sample's products alike whatever its neighbours in the batch and its place in memory.

    Call it before the first matrix product of the process; it costs a quarter of a fit's time.
    """
    os.environ["MKL_CBWR"] = "COMPATIBLE"
