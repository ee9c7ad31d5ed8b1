# What a study asks for: its splits, its runs, its tables, its pictures.


def asset_row(asset):
    """The asset's own line of the table, so that another asset's change concerns nobody else."""
    for line in Path(workflow.basedir, "config/assets.csv").read_text().splitlines():
        if line.startswith(f"{asset},"):
            return line
    raise WorkflowError(f"config/assets.csv: no asset '{asset}'")


def quality_splits():
    """Splits whose masks the study needs anyway, and whose exact masks are known: those it trains on."""
    return [(dataset, "train") for dataset in PROXIES]


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
        for dataset in PROXIES
        for stage in ("real", "synthetic")
    }


def group_options(wildcards, input):
    """One --group per named input."""
    return " ".join(
        f"--group {name}={','.join(paths)}" for name, paths in input.items()
    )


def products(name):
    """Files of one experiment."""
    if EXPERIMENTS[name].kind in ("table", "networks"):
        return [
            f"<results>/tables/{name}.{suffix}" for suffix in ("csv", "tex", "html")
        ]
    return [f"<results>/figures/{name}.{suffix}" for suffix in ("png", "svg")]


def network_tables():
    """Experiments that count networks."""
    return [name for name, value in EXPERIMENTS.items() if value.kind == "networks"]


def study_networks():
    """What the study's networks are, by name, as compact JSON: their cost does not depend on how they are trained."""
    return json.dumps(
        {name: json.loads(settings(untrained(name))) for name in STUDY.networks}
    )


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
    if experiment.kind == "networks":
        return []
    test = experiment.test_stem
    return [
        (row.run(seed), test) for row in experiment.rows for seed in experiment.seeds
    ]


def experiment_metrics(name):
    """Metrics files an experiment's table is made of; a figure has none."""
    runs = table_runs(EXPERIMENTS[name])
    if runs:
        runs.append(("mean_hand", runs[0][1]))
    return [f"<results>/metrics/{run}/{test}.csv" for run, test in dict.fromkeys(runs)]


def reconstructions(name):
    """Sheets of the hands that an experiment's networks can render."""
    return [
        f"<results>/gallery/reconstructions-{run}-{test}.jpg"
        for run, test in table_runs(EXPERIMENTS[name])
        if STUDY.networks[run.split("-")[0]].has_texture
    ]


def experiment_samples(name):
    """Per-sample metrics of an experiment that has columns by occlusion level."""
    if EXPERIMENTS[name].kind != "table" or not EXPERIMENTS[name].levels:
        return []
    return [str(Path(path).with_suffix(".h5")) for path in experiment_metrics(name)]


def study_runs():
    """Every training run the study's tables ask for, once."""
    return list(
        dict.fromkeys(
            run.removesuffix(PRIOR)
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
    """Contact sheets of every rendered shard, of every stage, and of what the networks made of the test images.

    Imported datasets have theirs by `handgap inspect-dataset`: their splits are too large for one of each shard.
    """
    sheets = [
        "hands",
        *(
            f"{stage}-{dataset}"
            for dataset in PROXIES
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
        for dataset in PROXIES
        for split in STUDY.datasets[dataset].splits
        for side in SIDES
        if side == "real" or split == "train"
        for k in range(shard_count(dataset, split))
    ]
    rendered = {path for name in STUDY.experiments for path in reconstructions(name)}
    return (
        [f"<results>/gallery/{sheet}.jpg" for sheet in sheets]
        + sorted(rendered)
        + ["<results>/figures/curves.png"]
    )
