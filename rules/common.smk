import json
import sys
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import DeploymentMethod

sys.path.insert(0, str(Path(workflow.basedir, "workflow")))

from handgap.core.config.experiment import load_experiment
from handgap.core.config.study import parse_study
from handgap.core.errors import HandgapError
from handgap.core.provenance import code_of, settings_hash

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


# --- runs and experiments


def source_shards(source):
    if source.images == "real":
        return shards("real", source.dataset, "train")
    return shards("composed", source.dataset, "train", source.images)


def training_shards(wildcards):
    return [
        path
        for source in STUDY.recipes[wildcards.recipe].sources
        for path in source_shards(source)
    ]


def backbone_asset(wildcards):
    network = STUDY.networks[wildcards.network]
    return f"results/assets/{network.backbone}/asset.json" if network.pretrained else []


def experiment_metrics(name):
    """Metrics files an experiment's table is made of; a figure has none."""
    runs = table_runs(EXPERIMENTS[name])
    if runs:
        runs.append(("mean_hand", runs[0][1]))
    return [f"<results>/metrics/{run}/{test}.csv" for run, test in dict.fromkeys(runs)]


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


# --- what a study asks for


def asset_row(asset):
    """The asset's own line of the table, so that another asset's change concerns nobody else."""
    for line in Path(workflow.basedir, "config/assets.csv").read_text().splitlines():
        if line.startswith(f"{asset},"):
            return line
    raise WorkflowError(f"config/assets.csv: no asset '{asset}'")


def quality_splits():
    """Splits whose masks the study needs anyway: those it trains on."""
    return [(dataset, "train") for dataset in STUDY.datasets]


def quality_shards(stage, variant=None):
    return [
        path
        for dataset, split in quality_splits()
        for path in shards(stage, dataset, split, variant)
    ]


def quality_groups(wildcards):
    """Shards to judge by stage and dataset: the splits the study trains on."""
    stages = (("real", None), ("synthetic", None), ("composed", "own"))
    return {
        f"{stage}_{dataset}": shards(stage, dataset, split, variant)
        for dataset, split in quality_splits()
        for stage, variant in stages
    }


def test_groups(wildcards):
    """Shards to judge by stage and dataset: renders of the test splits, which need no masks."""
    return {
        f"{stage}_{dataset}": shards(stage, dataset, "test")
        for dataset in STUDY.datasets
        for stage in ("real", "synthetic")
    }


def group_options(wildcards, input):
    """One --group per named input."""
    return " ".join(
        f"--group {name}={','.join(paths)}" for name, paths in input.items()
    )


def products(name):
    """Files of one experiment."""
    if EXPERIMENTS[name].kind == "table":
        return [
            f"<results>/tables/{name}.{suffix}" for suffix in ("csv", "tex", "html")
        ]
    return [f"<results>/figures/{name}.{suffix}" for suffix in ("png", "svg")]


def study_products():
    unknown = [name for name in STUDY.experiments if name not in EXPERIMENTS]
    if unknown:
        raise WorkflowError(
            f"experiments: no config/experiments/{unknown[0]}.yaml; known: {', '.join(EXPERIMENTS)}"
        )
    quality = [f"<results>/tables/quality_{what}.csv" for what in ("render", "segment")]
    return (
        [path for name in STUDY.experiments for path in products(name)]
        + quality
        + gallery()
    )


def table_runs(experiment):
    """Runs of a table and the test set each is judged on, as dataset-split."""
    test = experiment.test_stem
    return [
        (f"{row.network}-{row.recipe}-s{seed}", test)
        for row in experiment.rows
        for seed in experiment.seeds
    ]


def study_runs():
    """Every training run the study's tables ask for, once."""
    return list(
        dict.fromkeys(
            run
            for name in STUDY.experiments
            for run, _ in table_runs(EXPERIMENTS[name])
        )
    )


# rendered sides, with a contact sheet of every shard that the study makes anyway: place in the report
SIDES = {"real": "2 real", "synthetic": "4 synthetic"}

# stages with a contact sheet of a split's images: place in the report, labels drawn in, composition shown
SHEETS = {
    "masks": {"order": "5 masks", "overlay": "mask"},
    "composed": {"order": "6 composed", "overlay": "none", "variant": "own"},
}


def sheet_images(wildcards):
    """Shards whose images a sheet shows: the real ones under SAM's masks."""
    stage = "real" if wildcards.stage == "masks" else wildcards.stage
    return shards(
        stage, wildcards.dataset, "train", SHEETS[wildcards.stage].get("variant")
    )


def sheet_labels(wildcards):
    return (
        shards("masks", wildcards.dataset, "train")
        if wildcards.stage == "masks"
        else []
    )


def gallery():
    """Contact sheets of every rendered shard, of every stage, and of what the networks made of the test images."""
    sheets = [
        "hands",
        *(
            f"{stage}-{dataset}"
            for dataset in STUDY.datasets
            for stage in ("fit", "failures", *SHEETS)
        ),
    ]
    shown = {
        run: test
        for name in STUDY.experiments[:1]
        for run, test in table_runs(EXPERIMENTS[name])
    }
    sheets += [f"predictions-{run}-{test}" for run, test in shown.items()]
    sheets += [
        f"shards/{side}-{dataset}-{split}-{k:05d}"
        for dataset, values in STUDY.datasets.items()
        for split in values.splits
        for side in SIDES
        if side == "real" or split == "train"
        for k in range(shard_count(dataset, split))
    ]
    return [f"<results>/gallery/{sheet}.jpg" for sheet in sheets] + [
        "<results>/figures/curves.png"
    ]


def training_sources(wildcards, input):
    """One --source per ingredient of the recipe, in its order."""
    files = iter([input.shards] if isinstance(input.shards, str) else input.shards)
    options = []
    for source in STUDY.recipes[wildcards.recipe].sources:
        paths = [next(files) for _ in source_shards(source)]
        value = {
            "synthetic": source.images != "real",
            "weight": source.weight,
            "shards": paths,
        }
        options.append(f"--source {quote(json.dumps(value))}")
    return " ".join(options)


def amplitude_targets(wildcards):
    """Real images whose amplitudes FDA takes: those of the recipe's datasets."""
    recipe = STUDY.recipes[wildcards.recipe]
    if not recipe.amplitude or STUDY.amplitude.method != "fda":
        return []
    datasets = dict.fromkeys(source.dataset for source in recipe.sources)
    return [path for dataset in datasets for path in shards("real", dataset, "train")]


def amplitude_options(wildcards, input):
    if not STUDY.recipes[wildcards.recipe].amplitude:
        return ""
    return f"--amplitude {quote(settings(STUDY.amplitude))} {repeated('--target', input.targets)}"
