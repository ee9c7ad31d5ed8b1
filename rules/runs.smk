# Runs: what a network is trained on and with, and how it is judged.

# --- runs


def evaluation(wildcards):
    """Settings of the evaluation: by the protocol of the dataset's authors, where they have published one."""
    protocol = getattr(STUDY.datasets[wildcards.dataset], "protocol", None)
    own = {"protocol": protocol} if protocol else {}
    return settings(STUDY.evaluate.model_copy(update=own))


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


def detected_keypoints(wildcards):
    """Detected 2D joints, shard by shard, for networks that learn from them; only real images have any."""
    if not STUDY.networks[wildcards.network].needs_keypoints:
        return []
    recipe = STUDY.recipes[wildcards.recipe]
    others = [source.images for source in recipe.sources if source.images != "real"]
    if others or recipe.joints != "mano":
        found = f"images '{others[0]}'" if others else f"{recipe.joints}'s joints"
        raise WorkflowError(
            f"network '{wildcards.network}' learns from joints detected in real images, recipe "
            f"'{wildcards.recipe}' has {found}; train it on a recipe of real images"
        )
    return [
        path
        for source in recipe.sources
        for path in shards("keypoints", source.dataset, "train")
    ]


def initial_models(wildcards):
    """Networks whose weights this one starts from: of the same recipe and seed."""
    return [
        f"<results>/train/{name}-{wildcards.recipe}-s{wildcards.run_seed}/model.pt"
        for name in STUDY.networks[wildcards.network].initial
    ]


def backbone_asset(wildcards):
    network = STUDY.networks[wildcards.network]
    return f"results/assets/{network.backbone}/asset.json" if network.pretrained else []


def mesh_hierarchy(wildcards):
    network = STUDY.networks[wildcards.network]
    hand = recipe_hands(wildcards)["annotation"]
    return f"{MODELS}/{hand}_hierarchy.npz" if network.needs_hierarchy else []


def prior_shards(wildcards):
    """Shards whose joints the occlusion prior learns."""
    return [
        path
        for dataset in STUDY.prior.datasets or STUDY.datasets
        if "train" in STUDY.datasets[dataset].splits
        for path in shards("real", dataset, "train")
    ]


# --- training


def untrained(name):
    """A network without what it sets for its training."""
    chosen = STUDY.networks[name]
    return chosen.model_copy(update={"train": type(chosen.train)()})


def network_settings(wildcards):
    """What the network is; how it is trained is `training_settings`."""
    return settings(untrained(wildcards.network))


def training_settings(wildcards):
    return settings(STUDY.training(wildcards.network))


def training_devices(wildcards):
    return STUDY.training(wildcards.network).devices


def joint_labels(wildcards):
    """The render hand, if its joints are the recipe's labels."""
    nimble = STUDY.recipes[wildcards.recipe].joints == "nimble"
    return f"{MODELS}/{recipe_hands(wildcards)['render']}.npz" if nimble else []


def launcher(wildcards):
    """How Python is started: plainly, or by torchrun for several devices."""
    devices = training_devices(wildcards)
    if devices == 1:
        return "python "
    # a thread each: Snakemake's numbers are for all of them, and processes wait long for each other's cores. torch
    # goes by MKL's number where it has MKL
    threads = "OMP_NUM_THREADS=1 MKL_NUM_THREADS=1"
    return f"{threads} python -m torch.distributed.run --standalone --nproc-per-node {devices} "


def training_sources(wildcards, input):
    """One --source per ingredient of the recipe, in its order."""
    files, keypoints = (
        iter([paths] if isinstance(paths, str) else paths)
        for paths in (input.shards, input.keypoints)
    )
    options = []
    for source in STUDY.recipes[wildcards.recipe].sources:
        paths = [next(files) for _ in source_shards(source)]
        value = {
            "synthetic": source.images != "real",
            "weight": source.weight,
            "subset": source.subset.model_dump(),
            "shards": paths,
            "keypoints": [found for _, found in zip(paths, keypoints)],
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


# --- evaluation


def run_options(wildcards):
    """What the metrics of a run say of it; the mean hand is that of the real training images."""
    name = wildcards.run.removesuffix(PRIOR)
    network, recipe, seed = name.split("-") if "-" in name else (name, "real", "s0")
    return (
        f"--run {wildcards.run} --network {network} --recipe {recipe} "
        f"--run-seed {seed.removeprefix('s')}"
    )
