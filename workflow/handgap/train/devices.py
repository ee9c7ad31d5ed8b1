"""The processes of a run: one alone, or those that torchrun has started."""

import os

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.strategies import DDPStrategy

from handgap.core.errors import ConfigError


def compute_alike() -> None:
    """Have the same run give the same numbers: to the bit on CPUs, as far as CUDA's kernels go on a GPU.

    Call it before the first matrix product. Some gradients have no deterministic kernel there (grid sampling, bilinear
    interpolation): torch warns of each once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing reads it, and filling it costs a tenth


def devices_fabric(devices: int) -> Fabric:
    """Fabric for this process: alone, or one of torchrun's; bfloat16 on a GPU.

    Raises:
        ConfigError: torchrun has started another number of processes, or more than there are GPUs.
    """
    # one CPU thread gains nothing from bfloat16 on depthwise convolutions; a GPU does
    precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
    if not TorchElasticEnvironment.detect():
        if devices > 1:
            cure = f"start it with torchrun --nproc-per-node {devices} -m, as the workflow does"
            raise ConfigError("train.devices", f"{devices}, but this is a single process", cure)
        # the environment is named, so that Lightning does not take a Slurm allocation for a multi-process launch
        return Fabric(devices=1, precision=precision, plugins=LightningEnvironment())
    environment = TorchElasticEnvironment()
    if environment.world_size() != devices:
        problem = f"torchrun has started {environment.world_size()} processes"
        raise ConfigError("train.devices", f"{devices}, but {problem}", "make the two agree")
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    if torch.cuda.is_available() and local > torch.cuda.device_count():
        problem = f"{local} processes, but this machine has {torch.cuda.device_count()} GPUs"
        raise ConfigError("train.devices", problem, "take fewer, or hide the GPUs with CUDA_VISIBLE_DEVICES=")
    # some parameters have no gradient: the last norm of a timm backbone whose classifier is left out, say
    strategy = DDPStrategy(cluster_environment=environment, find_unused_parameters=True)
    fabric = Fabric(devices=local, num_nodes=devices // local, precision=precision, strategy=strategy)
    fabric.launch()
    return fabric
