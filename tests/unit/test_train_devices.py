"""Two processes under torchrun against one: gloo on the CPU stands in for GPUs."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from handgap.core.config.networks import SimpleHandNetwork
from handgap.core.config.train import Train
from handgap.core.errors import ConfigError
from handgap.train import step
from handgap.train.devices import devices_fabric
from toys import toy_hand, toy_store
from typer.testing import CliRunner

# its last norm belongs to the classifier that is left out: a parameter without a gradient
NETWORK = SimpleHandNetwork(backbone="test_convnext", pretrained=False)


def command(folder, name, devices):
    settings = Train(
        image_size=64, batch=3, effective_batch=6, devices=devices, epochs=2, learning_rate=1e-4, validation=0.2
    )
    source = f'{{"synthetic": true, "shards": ["{folder / "a.h5"}"]}}'
    options = {
        "source": source,
        "network": NETWORK.model_dump_json(),
        "annotation-hand": folder / "hand.npz",
        "settings": settings.model_dump_json(),
        "amplitude": "{}",
        "state": folder / f"state_{name}",
        "out": folder / f"{name}.pt",
        "curves": folder / f"{name}.csv",
        "run-seed": 1,
        "study": "test",
        "seed": 0,
        "code": "abc",
    }
    return [part for key, value in options.items() for part in (f"--{key}", str(value))]


def torchrun(folder, name):
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*launcher, "-m", "handgap.train.step", *command(folder, name, 2)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finished(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    toy_store(folder / "a.h5", toy_hand(folder / "hand.npz"), range(15))
    CliRunner().invoke(step.app, command(folder, "one", 1), catch_exceptions=False)
    finished(torchrun(folder, "two"))
    return folder


def weights(folder, name):
    return torch.load(folder / f"{name}.pt", weights_only=True)["weights"]


def curves(folder, name):
    with open(folder / f"{name}.csv") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_two_processes_train_the_weights_of_one(folder):
    one, two = weights(folder, "one"), weights(folder, "two")
    assert one.keys() == two.keys()
    trained = [name for name in one if "running_" not in name and "num_batches" not in name]
    for name in trained:  # the running statistics are those of the first process's batches
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=2e-6, msg=lambda text, n=name: f"{n}: {text}")


def test_two_processes_write_the_curves_of_one(folder):
    one, two = curves(folder, "one"), curves(folder, "two")
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert b == pytest.approx(a, rel=5e-3)


def test_two_processes_stop_at_sigterm_and_go_on(folder):
    process, state = torchrun(folder, "again"), folder / "state_again" / "last.ckpt"
    while not state.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    if process.returncode == 0:
        pytest.skip("it had ended before the signal came")
    assert state.exists() and not (folder / "again.pt").exists()
    finished(torchrun(folder, "again"))
    again, two = weights(folder, "again"), weights(folder, "two")
    assert all(torch.equal(again[name], two[name]) for name in two)
    assert curves(folder, "again") == curves(folder, "two")


def test_a_single_process_refuses_to_stand_for_two(folder):
    with pytest.raises(ConfigError, match="but this is a single process"):
        CliRunner().invoke(step.app, command(folder, "alone", 2), catch_exceptions=False)


@pytest.mark.parametrize(("devices", "gpus", "problem"), [(3, 0, "has started 2"), (2, 1, "machine has 1 GPUs")])
def test_a_launch_that_does_not_fit_is_one_clear_error(monkeypatch, devices, gpus, problem):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ConfigError, match=problem):
        devices_fabric(devices)
