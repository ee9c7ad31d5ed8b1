import json
import sys
from pathlib import Path
from shlex import quote
from typing import get_args

import numpy as np
from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import DeploymentMethod

sys.path.insert(0, str(Path(workflow.basedir, "workflow")))

from handgap.compose.pairs import random_partners
from handgap.core.config.dataset import Dataset
from handgap.core.config.experiment import PRIOR, load_experiment
from handgap.core.config.segment import GROUNDING_DINO, SEGMENTERS, VOCAB
from handgap.core.config.study import parse_study
from handgap.core.errors import HandgapError
from handgap.core.provenance import code_of, settings_hash
from handgap.data.adapters.registry import adapter_code, sides_of
from handgap.export.names import FormatName

try:
    STUDY = parse_study(
        config, "the study's configuration (config/*.yaml and --config)"
    )
    EXPERIMENTS = {
        p.stem: load_experiment(p)
        for p in sorted(Path(workflow.basedir, "config/experiments").glob("*.yaml"))
    }
except HandgapError as error:
    raise WorkflowError(str(error)) from None

MODELS = "results/models"
HDRI_ASSETS = [
    f"results/assets/{asset}/asset.json" for asset in ("hdri_bpy", "hdri_pmndrs")
]
OBJECT_ASSETS = (
    ["results/assets/objects_sweethome3d/asset.json"]
    if "sweethome3d" in STUDY.assets.objects
    else []
)


def shell_prefix():
    """The package on the path; Snakemake's own interpreter first, unless each rule has a conda environment."""
    lines = [
        "set -euo pipefail",
        f'export PYTHONPATH="{workflow.basedir}/workflow"',
        "export PYTHONHASHSEED=0",
    ]
    if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
        lines.append(f'export PATH="{Path(sys.executable).parent}:$PATH"')
    return "; ".join(lines) + "; "


shell.prefix(shell_prefix())


# --- resource classes: memory and time grow with each attempt; cluster names belong to profiles/

CLASSES = {  # class: (MB, minutes)
    "small": (2000, 10),
    "cpu": (4000, 60),
    "mem": (8000, 120),
    "gpu": (8000, 240),
    "train": (8000, 720),
}


def mem(name):
    return lambda wildcards, attempt: CLASSES[name][0] * attempt


def runtime(name):
    return lambda wildcards, attempt: CLASSES[name][1] * attempt


# --- settings: only the keys a rule uses, as JSON


def settings(section):
    """One section of the study as compact JSON."""
    return json.dumps(
        section.model_dump(mode="json"), sort_keys=True, separators=(",", ":")
    )


def scene_settings(dataset):
    """What a dataset's pictures depend on: which splits there are, but not how large."""
    values = STUDY.datasets[dataset].model_dump(mode="json")
    return json.dumps(values | {"splits": dict.fromkeys(values["splits"], 1)})


# --- datasets: rendered proxies, and files that are imported

PROXIES = [
    name for name, values in STUDY.datasets.items() if isinstance(values, Dataset)
]
IMPORTED = [name for name in STUDY.datasets if name not in PROXIES]


def one_of(names):
    """Wildcard constraint: one of some names, of which there may be none."""
    return "|".join(names) or "(?!)"


def import_settings(dataset):
    """What an imported dataset's rows depend on: not how many are taken."""
    values = STUDY.datasets[dataset].model_dump(mode="json")
    return json.dumps(values | {"splits": {"train": 1}})


def import_code(dataset, step):
    """Hash of a step and of the dataset's own adapter, so that another one's edit concerns nobody else."""
    return settings_hash([code_of(step), adapter_code(STUDY.datasets[dataset])])


def import_hands(dataset):
    """MANO's hands that complete its labels; none if it is to be taken as it is."""
    values = STUDY.datasets[dataset]
    names = {"right": "mano", "left": "mano_left"}
    return (
        [f"{MODELS}/{names[side]}.npz" for side in sides_of(values)]
        if values.mano
        else []
    )


def hand_options(wildcards, input):
    return " ".join(
        f"--left-hand {path}" if path.endswith("_left.npz") else f"--hand {path}"
        for path in input.hands
    )


# --- hand models: labels of proxies are the open hand's, of imported datasets MANO's; their meshes differ

OPEN = {
    "annotation": "open_mano",
    "render": "open_nimble",
    "textures": "open_nimble_textures",
}
LICENSED = {"annotation": "mano", "render": "nimble", "textures": "nimble_textures"}


def hand_models(dataset):
    return OPEN if dataset in PROXIES else LICENSED


def model_of(part):
    """Input function: the model that goes with the labels of the wildcards' dataset."""
    return lambda wildcards: f"{MODELS}/{hand_models(wildcards.dataset)[part]}.npz"


def recipe_hands(wildcards):
    """The models that go with a recipe's datasets, and with the dataset it is applied to if there is one."""
    sources = STUDY.recipes[wildcards.recipe].sources
    datasets = [source.dataset for source in sources]
    datasets += [wildcards.dataset] if "dataset" in wildcards.keys() else []
    names = {dataset: hand_models(dataset)["annotation"] for dataset in datasets}
    if len(set(names.values())) > 1:
        listed = ", ".join(f"{dataset}: {name}" for dataset, name in names.items())
        raise WorkflowError(
            f"recipes.{wildcards.recipe}: its datasets, and those it is tested on, have different meshes ({listed})\n"
            "  cure: keep rendered and imported datasets apart"
        )
    return hand_models(datasets[0])


# --- shards


def shard_count(dataset, split):
    return -(-STUDY.datasets[dataset].splits[split] // STUDY.shard_size)


def shards(stage, dataset, split, variant=None):
    """All shards of a split at one stage."""
    split_folder = f"{split}/{variant}" if variant else split
    return [
        f"<results>/{stage}/{dataset}/{split_folder}/{k:05d}.h5"
        for k in range(shard_count(dataset, split))
    ]


def first_id(wildcards):
    return int(wildcards.shard) * STUDY.shard_size


def id_count(wildcards):
    total = STUDY.datasets[wildcards.dataset].splits[wildcards.split]
    return min(STUDY.shard_size, total - first_id(wildcards))


def split_shards(stage):
    """Input function: all shards of the wildcards' split."""
    return lambda wildcards: shards(stage, wildcards.dataset, wildcards.split)


# --- exports


def exported_shards(wildcards):
    """Shards of the images named as recipes name them (real, or a composition), or synthetic: bare renders."""
    dataset, split, images = wildcards.dataset, wildcards.split, wildcards.images
    if images in ("real", "synthetic"):
        return shards(images, dataset, split)
    return shards("composed", dataset, split, images)


def worn_model(part):
    """Input function: the render hand's model that the exported pictures show; photographs show none, and proxy-real
    people wear skins of their own."""

    def model(wildcards):
        absent = "textures" if wildcards.dataset in PROXIES else part
        real = wildcards.images == "real"
        return [] if real and part == absent else model_of(part)(wildcards)

    return model


# --- command lines


def repeated(flag, paths):
    """One flag per path."""
    return " ".join(
        f"{flag} {path}" for path in ([paths] if isinstance(paths, str) else paths)
    )


def folders(paths):
    return [
        str(Path(path).parent)
        for path in ([paths] if isinstance(paths, str) else paths)
    ]


def hdri_options(wildcards, input):
    return repeated("--hdri-dir", folders(input.hdris))


def catalogue_option(wildcards, input):
    """Nothing unless the study holds objects out of a catalogue."""
    return repeated("--catalogue", folders(input.objects))


# --- masks

SEGMENTER = SEGMENTERS[STUDY.segment.segmenter]
TEXT_ASSETS = (GROUNDING_DINO, VOCAB) if STUDY.segment.boxes == "grounding_dino" else ()


def weights_of(assets, paths):
    """Files of assets that lie beside their asset.json."""
    return [f"{folder}/{asset.file}" for asset, folder in zip(assets, folders(paths))]


def text_options(wildcards, input):
    """Grounding DINO and the vocabulary of its text encoder, if the study asks for text-prompted boxes."""
    files = weights_of(TEXT_ASSETS, input.text)
    return " ".join(map("{} {}".format, ("--detector", "--vocab"), files))


# --- compositions


def split_size(wildcards):
    return STUDY.datasets[wildcards.dataset].splits[wildcards.split]


def pasted_numbers(wildcards):
    """Numbers of the real shards that a composed shard takes its pieces from."""
    origin = STUDY.compositions[wildcards.variant].origin
    if origin == "none":
        return []
    if origin == "own":
        return [int(wildcards.shard)]
    ids = first_id(wildcards) + np.arange(id_count(wildcards))
    partners = random_partners(
        ids, split_size(wildcards), STUDY.seed, wildcards.variant
    )
    return np.unique(partners // STUDY.shard_size).tolist()


def pasted_shards(stage):
    """Input function: those shards at one stage."""
    return lambda wildcards: [
        f"<results>/{stage}/{wildcards.dataset}/{wildcards.split}/{number:05d}.h5"
        for number in pasted_numbers(wildcards)
    ]


def split_size_option(wildcards):
    """Random partners come from the whole split; other compositions do not depend on its size."""
    if STUDY.compositions[wildcards.variant].origin == "random":
        return f"--split-size {split_size(wildcards)}"
    return ""
