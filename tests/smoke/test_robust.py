"""Kills, other shard sizes and second runs change no byte."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from handgap.core.files import half_written
from handgap.core.store import ShardedStore, Store

from tests.commands import Commands, run, start, state_of

pytestmark = pytest.mark.slow
WHOLE, PARTS = (0, 4), ((0, 2), (2, 2))  # first id, samples
EPOCHS = 6
PATIENCE_S = 120


@pytest.fixture(scope="session")
def commands(made: Path) -> Commands:
    return Commands(made)


class Shards:
    """The same samples in one shard and in two, at every stage of the render side."""

    def __init__(self, folder: Path, commands: Commands):
        self.folder = folder
        for name, (first, count) in {"whole": WHOLE, "0": PARTS[0], "1": PARTS[1]}.items():
            began = time.monotonic()
            run(commands.proxy(self.path("real", name), first, count))
            self.seconds = time.monotonic() - began  # of two samples
            run(commands.fit(self.path("real", name), self.path("fit", name)))
            run(commands.synthetic(self.path("fit", name), self.path("synthetic", name)))
        run(commands.masks(self.path("real", "whole"), self.path("masks", "whole")))
        sides = (self.path(stage, "whole") for stage in ("synthetic", "real", "masks"))
        run(commands.compose(*sides, self.path("composed", "whole"), WHOLE[1]))

    def path(self, stage: str, name: str) -> Path:
        return self.folder / stage / f"{name}.h5"


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Shards:
    return Shards(tmp_path_factory.mktemp("shards"), commands)


@pytest.mark.parametrize("stage", ["real", "fit", "synthetic"])
def test_samples_do_not_depend_on_the_shard_size(shards: Shards, stage: str) -> None:
    with (
        Store(shards.path(stage, "whole")) as whole,
        ShardedStore([shards.path(stage, "0"), shards.path(stage, "1")]) as parts,
    ):
        assert len(whole) == len(parts) == WHOLE[1]
        assert whole.column("valid").any(), "nothing to compare"
        for part in parts.shards:
            assert part.names == whole.names
        for name in whole.names:
            for row, value in enumerate(whole.column(name)):
                np.testing.assert_array_equal(parts.row(name, row), value, err_msg=f"{name} of sample {row}")


@pytest.mark.parametrize("stage", ["fit", "synthetic", "masks", "composed"])
def test_a_second_run_gives_the_same_bytes(shards: Shards, commands: Commands, tmp_path: Path, stage: str) -> None:
    sides = {name: shards.path(name, "whole") for name in ("real", "fit", "synthetic", "masks")}
    again = tmp_path / "again.h5"
    run(
        {
            "fit": commands.fit(sides["real"], again),
            "synthetic": commands.synthetic(sides["fit"], again),
            "masks": commands.masks(sides["real"], again),
            "composed": commands.compose(sides["synthetic"], sides["real"], sides["masks"], again, WHOLE[1]),
        }[stage]
    )
    assert again.read_bytes() == shards.path(stage, "whole").read_bytes()


def kill(command: list[object], moment: Callable[[], bool]) -> None:
    """Start a step and kill it as soon as the moment has come, or too late."""
    process, deadline = start(command), time.monotonic() + PATIENCE_S
    while process.poll() is None and not moment():
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    process.kill()
    output, _ = process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0), output[-3000:]


@pytest.mark.parametrize("side", ["real", "synthetic"])
def test_render_worker_killed_at_any_moment_leaves_the_same_shard(
    shards: Shards, commands: Commands, tmp_path: Path, side: str
) -> None:
    out = tmp_path / side / "shard.h5"
    make = {"real": commands.proxy(out, *PARTS[1]), "synthetic": commands.synthetic(shards.path("fit", "1"), out)}
    seconds, began = random.Random(side), time.monotonic()
    kill(make[side], lambda: time.monotonic() - began > seconds.uniform(0.3, 0.9) * shards.seconds)
    kill(make[side], lambda: any(state_of(out).rglob(".*.tmp")))  # a row is being written
    kill(make[side], lambda: bool(half_written(out)))  # the shard is
    run(make[side])
    assert out.read_bytes() == shards.path(side, "1").read_bytes()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [out] and not state_of(out).exists()


def interrupt(command: list[object], state: Path, number: signal.Signals) -> int:
    """Start a training, send it a signal as soon as it has saved its state (anew); its exit status."""
    seen = {path: path.stat().st_mtime_ns for path in state.glob("*.ckpt")}
    process, deadline = start(command), time.monotonic() + PATIENCE_S
    while {path: path.stat().st_mtime_ns for path in state.glob("*.ckpt")} == seen:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0][-3000:]
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    return process.returncode


def test_training_stopped_and_killed_ends_in_the_same_weights(
    shards: Shards, commands: Commands, tmp_path: Path
) -> None:
    sides = shards.path("real", "whole"), shards.path("composed", "whole")
    plain, disturbed = tmp_path / "plain" / "model.pt", tmp_path / "disturbed" / "model.pt"
    run(commands.train(*sides, plain, EPOCHS))
    command, state = commands.train(*sides, disturbed, EPOCHS), state_of(disturbed)
    assert interrupt(command, state, signal.SIGTERM) == 128 + signal.SIGTERM
    assert [path.name for path in state.iterdir()] == ["last.ckpt"]
    assert interrupt(command, state, signal.SIGKILL) == -signal.SIGKILL
    assert not disturbed.exists()
    run(command)
    assert not state.exists()
    weights, expected = (torch.load(path, weights_only=True)["weights"] for path in (disturbed, plain))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert disturbed.with_name("curves.csv").read_bytes() == plain.with_name("curves.csv").read_bytes()
