"""`python -m handgap.train.step`: shards of a recipe -> a trained network and its curves."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from pydantic import Field

from handgap.core.config.base import Section, parse_json
from handgap.core.config.networks import NETWORK, Network
from handgap.core.config.train import Amplitude, Subset, Train
from handgap.core.errors import ConfigError, MissingAssetError, run_step
from handgap.core.provenance import file_sha256, settings_hash
from handgap.core.seeds import integer_seed
from handgap.data.batches import Mixture, Source
from handgap.data.detected import DetectedSamples
from handgap.data.samples import Samples
from handgap.data.selection import select
from handgap.hands.annotation_hand import AnnotationHand
from handgap.hands.hierarchy import Hierarchy
from handgap.networks.build import build
from handgap.train.curves import write_curves
from handgap.train.devices import compute_alike
from handgap.train.labels import nimble_joints
from handgap.train.loop import TrainingRun
from handgap.train.model_file import save_model, start_from

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


class SourceFiles(Section):
    """Value of --source."""

    synthetic: bool = Field(description="rendered images: amplitude augmentation applies")
    weight: float = Field(1.0, gt=0, description="share of the images drawn, relative to the others")
    subset: Subset = Field(default_factory=Subset, description="which of the samples")
    shards: list[Path] = Field(min_length=1, description="files with images and labels")
    keypoints: list[Path] = Field([], description="files with detected 2D joints, in place of the labels")


def find_weights(folder: Path) -> Path:
    """The one `.pth` file of a backbone's asset folder.

    Raises:
        MissingAssetError: there is none, or more than one.
    """
    found = sorted(folder.glob("*.pth"))
    if len(found) != 1:
        raise MissingAssetError(
            folder, f"{len(found)} .pth files in it, expected one", "delete it; snakemake fetches it"
        )
    return found[0]


def open_samples(files: SourceFiles, network: Network) -> Samples:
    """Samples with what the network learns from: labels, masks too, or detected 2D joints alone.

    Raises:
        ConfigError: keypoints for a network that learns from labels, or none for one that learns from them.
        MissingAssetError, CorruptFileError: see `Samples` and `DetectedSamples`.
    """
    if network.needs_keypoints != bool(files.keypoints):
        problem = f"the network learns from {'detected 2D joints' if network.needs_keypoints else 'labels'}"
        raise ConfigError("keypoints of --source", problem, "give keypoints to those that learn from them, only")
    if network.needs_keypoints:
        return DetectedSamples(files.shards, files.keypoints)
    return Samples(files.shards, network.needs_masks)


@app.command()
def train(
    source: Annotated[
        list[str], typer.Option(help="JSON of one source: synthetic, weight, subset, shards, keypoints; repeat it")
    ],
    network: Annotated[str, typer.Option(help="JSON of the network's settings")],
    annotation_hand: Annotated[Path, typer.Option(help="hand model of the labels (.npz)")],
    settings: Annotated[str, typer.Option(help="JSON of the train section")],
    state: Annotated[Path, typer.Option(help="folder of the state while the run is not finished")],
    out: Annotated[Path, typer.Option(help="trained network (.pt)")],
    curves: Annotated[Path, typer.Option(help="losses and metrics per epoch (.csv)")],
    run_seed: Annotated[int, typer.Option(help="seed of this training run")],
    study: Annotated[str, typer.Option(help="name of the study")],
    seed: Annotated[int, typer.Option(help="the study's seed")],
    code: Annotated[str, typer.Option(help="hash of this step's code")],
    weights: Annotated[Path | None, typer.Option(help="asset folder with the backbone's ImageNet weights")] = None,
    amplitude: Annotated[str | None, typer.Option(help="JSON: amplitude augmentation of synthetic images")] = None,
    hierarchy: Annotated[Path | None, typer.Option(help="mesh hierarchy of the hand model (.npz)")] = None,
    initial: Annotated[list[Path] | None, typer.Option(help="trained network to start from (.pt); repeat it")] = None,
    target: Annotated[list[Path] | None, typer.Option(help="real shards whose amplitudes FDA takes")] = None,
    nimble_joints_of: Annotated[
        Path | None, typer.Option(help="render hand (.npz) whose joints are the labels, in place of the shards'")
    ] = None,
) -> None:
    """Train one network on one recipe; goes on where it was stopped. Several devices: start it with torchrun."""
    files = [parse_json(SourceFiles, text, "--source") for text in source]
    train_settings = parse_json(Train, settings, "--settings")
    network_settings = parse_json(NETWORK, network, "--network")
    if network_settings.pretrained != (weights is not None):
        raise ConfigError(
            "--weights", f"pretrained is {network_settings.pretrained}", "give weights if it is true, only"
        )
    amplitude_settings = None if amplitude is None else parse_json(Amplitude, amplitude, "--amplitude")
    sources = []
    for item in files:
        samples = open_samples(item, network_settings)
        if nimble_joints_of:
            samples.relabel(nimble_joints(samples, nimble_joints_of))
        selection = select(samples, item.subset, train_settings.validation, seed)
        sources.append(Source(samples, item.synthetic, item.weight, selection))
    targets = Samples(target) if target else None
    read = [*(item.samples for item in sources), *([targets] if targets else [])]
    config = {
        "train": train_settings.model_dump(mode="json"),
        "network": network_settings.model_dump(mode="json"),
        "amplitude": amplitude_settings and amplitude_settings.model_dump(mode="json"),
        "joints": "nimble" if nimble_joints_of else "mano",
        "sources": [item.model_dump(mode="json", exclude={"shards"}) for item in files],
    }
    provenance = {
        "study": study,
        "seed": seed,
        "run_seed": run_seed,
        "code": code,
        "config": settings_hash(config),
        "parents": [digest for samples in read for digest in samples.digests]
        + [file_sha256(path) for path in (hierarchy, nimble_joints_of, *(initial or [])) if path],
    }
    # the root of this run's random numbers: the study's seed and the run's, so that runs of two studies differ
    root = integer_seed(seed, "train", run_seed)
    compute_alike()
    torch.manual_seed(integer_seed(root, "train/initialisation"))
    hand, meshes = AnnotationHand.load(annotation_hand), hierarchy and Hierarchy.load(hierarchy)
    model = build(network_settings, hand, weights and find_weights(weights), train_settings.image_size, meshes)
    start_from(model, initial or [])
    run = TrainingRun(
        model,
        Mixture(sources, train_settings, root),
        train_settings,
        amplitude_settings,
        state,
        settings_hash(provenance),
        targets,
    )
    history = run.fit()
    if run.is_main:
        write_curves(curves, history)
        save_model(out, model, network_settings, train_settings.image_size, train_settings.box_expansion, provenance)
        run.clear()


if __name__ == "__main__":
    run_step(app)
