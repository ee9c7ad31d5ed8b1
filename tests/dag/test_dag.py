"""Contracts of the DAG, from dry runs in this process: nothing is executed."""

import json
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from handgap.compose.pairs import random_partners
from handgap.core.config.train import Train

from tests.conftest import ROOT, planned

SMOKE = ROOT / "config" / "smoke.yaml"


def jobs(config: Path, *targets: str) -> Counter:
    """Every job of a study by rule, whether its files are there or not."""
    with planned(config, targets) as workflow:
        return Counter(job.rule.name for job in workflow.dag.jobs)


def test_every_rule_has_log_benchmark_environment_resources_and_message() -> None:
    with planned(SMOKE) as workflow:
        rules = [rule for rule in workflow.rules if rule.shellcmd]
        assert len(rules) >= 15
        for rule in rules:
            assert list(rule.log), rule.name
            assert rule.benchmark, rule.name
            assert rule.conda_env, rule.name
            assert {"mem_mb", "runtime"} <= set(rule.resources), rule.name
            assert rule.message, rule.name


def test_no_file_is_made_twice_and_every_file_is_used() -> None:
    with planned(SMOKE) as workflow:
        all_jobs = list(workflow.dag.jobs)
        made = Counter(str(path) for job in all_jobs for path in job.output)
        assert [path for path, count in made.items() if count > 1] == []
        used = {str(path) for job in all_jobs for path in job.input}
        idle = {job.rule.name for job in all_jobs if job.output and not used & {str(path) for path in job.output}}
        assert idle <= {"all"}


def test_the_default_study_has_the_jobs_its_numbers_say() -> None:
    count = jobs(ROOT / "config" / "config.yaml")
    assert count["predict"] == 16  # the full run is shared
    assert count["train_network"] == 17  # the heatmaps are a stage of another run
    assert count["train_prior"] == count["predict_mean_hand"] == 1 and count["refine"] == 4
    assert count["evaluate_run"] == 16 + 4 + 1  # trained, refined, the mean hand
    assert count["make_table"] == 4 and count["make_network_table"] == 1
    assert count["draw_reconstructions"] == 1


@pytest.mark.parametrize(
    ("size", "shards"),
    [(8, {"render_real": 5, "render_synthetic": 4}), (16, {"render_real": 3, "render_synthetic": 2})],
)
def test_shard_size_changes_files_not_samples(study_file, size: int, shards: dict[str, int]) -> None:
    study = study_file(study="dag", shard_size=size, datasets={"proxyfrei": {"splits": {"train": 32, "test": 7}}})
    count = jobs(study, "table_main")
    assert {rule: count[rule] for rule in shards} == shards


def test_one_table_needs_its_own_runs_only(study_file) -> None:
    count = jobs(study_file(study="dag"), "table_ablation")
    assert count["train_network"] == 5
    assert "draw_spectrum" not in count and "make_table" in count


def test_the_table_of_networks_needs_the_hand_and_its_meshes_only(study_file) -> None:
    count = jobs(study_file(study="dag"), "table_networks")
    assert count.keys() == {"table_networks", "make_network_table", "build_hierarchy", "forge_hands"}


def test_the_table_of_networks_does_not_depend_on_how_they_are_trained(study_file) -> None:
    params = []
    for epochs in (3, 4):
        study = study_file(study="dag", networks={"cmr": {"train": {"epochs": epochs}}})
        with planned(study, ["table_networks"]) as workflow:
            params += [job.params.networks for job in workflow.dag.jobs if job.rule.name == "make_network_table"]
    assert params[0] == params[1] and "cmr" in params[0]


def test_a_composed_shard_needs_the_shards_its_pieces_come_from_and_no_other(study_file) -> None:
    study = study_file(study="dag", shard_size=8, datasets={"proxyfrei": {"splits": {"train": 60, "test": 8}}})
    with planned(study, ["table_ablation"]) as workflow:
        jobs = [job for job in workflow.dag.jobs if job.rule.name == "compose_shard"]
    assert {job.wildcards.variant for job in jobs} > {"own", "random"}
    for job in jobs:
        own = int(job.wildcards.shard)
        ids = np.arange(8 * own, min(8 * own + 8, 60))
        partners = random_partners(ids, 60, 0, "random") if job.wildcards.variant == "random" else ids
        needed = [f"{number:05d}" for number in sorted(set((partners // 8).tolist()))]
        for side in (job.input.real, job.input.masks):
            assert [Path(path).stem for path in ([side] if isinstance(side, str) else side)] == needed


def test_the_prior_refines_any_run_and_is_trained_on_the_datasets_it_names(study_file) -> None:
    splits = {"splits": {"train": 4, "test": 4}}
    keys = {"shard_size": 4, "datasets": {"proxyfrei": splits, "other": splits}}
    target = "results/dag/metrics/{}+prior/proxyfrei-test.csv"
    count = jobs(study_file(study="dag", **keys), target.format("mean_hand"))
    assert count["refine"] == count["train_prior"] == count["evaluate_run"] == 1 and count["render_real"] == 3
    count = jobs(study_file(study="dag", **keys, prior={"datasets": ["other"]}), target.format("s2hand-real-s2"))
    assert count["refine"] == count["train_network"] == count["predict"] == 1
    with planned(study_file(study="dag", **keys, prior={"datasets": ["other"]}), [target.format("mean_hand")]) as plan:
        prior = next(job for job in plan.dag.jobs if job.rule.name == "train_prior")
    assert [path for path in map(str, prior.input) if "/real/" in path] == ["results/dag/real/other/train/00000.h5"]


@pytest.mark.parametrize(("network", "hierarchies"), [("s2hand", 0), ("cmr", 1), ("metro", 1), ("graphormer", 1)])
def test_networks_on_a_mesh_hierarchy_wait_for_it(study_file, network: str, hierarchies: int) -> None:
    count = jobs(study_file(study="dag"), f"results/dag/predictions/{network}-full-s0/proxyfrei-test.h5")
    assert count["train_network"] == count["predict"] == 1
    assert count["build_hierarchy"] == hierarchies


def train_job(study: Path, target: str):
    with planned(study, [f"results/dag/train/{target}/model.pt"]) as workflow:
        (job,) = (job for job in workflow.dag.jobs if job.rule.name == "train_network")
    return job


def test_a_network_is_trained_with_its_own_settings_on_top_of_the_studys(study_file) -> None:
    own = {"learning_rate": 1e-4, "effective_batch": 32}
    networks = {"slow": {"architecture": "s2hand", "train": own}, "plain": {"architecture": "s2hand"}}
    study = study_file(study="dag", networks=networks, train={"epochs": 7})
    slow, plain = (train_job(study, f"{name}-full-s0") for name in networks)
    settings = json.loads(slow.params.settings)
    assert (settings["learning_rate"], settings["effective_batch"], settings["epochs"]) == (1e-4, 32, 7)
    assert json.loads(plain.params.settings) == settings | {"learning_rate": 5e-4, "effective_batch": None}
    # what it is does not depend on how it is trained
    assert slow.params.network == plain.params.network


@pytest.mark.parametrize(
    ("network", "images", "law"),
    [
        ("s2hand", 64, ("adam", 1e-3, 0.0, 0.5)),
        ("cmr", 32, ("adam", 1e-4, 0.0, 0.1)),
        ("metro", 256, ("adam", 1e-4, 0.0, 0.1)),
        ("graphormer", 256, ("adam", 1e-4, 0.0, 0.1)),
        ("simplehand", 256, ("adamw", 5e-4, 1e-2, 0.1)),
    ],
)
def test_the_published_study_trains_each_network_as_published(network: str, images: int, law: tuple) -> None:
    with planned(ROOT / "config/published.yaml", [f"results/published/train/{network}-real-s0/model.pt"]) as workflow:
        (job,) = (job for job in workflow.dag.jobs if job.rule.name == "train_network")
    chosen = Train.model_validate_json(job.params.settings)
    assert (chosen.step_images, chosen.image_size, chosen.schedule) == (images, 224, "steps")
    assert (chosen.optimiser, chosen.learning_rate, chosen.weight_decay, chosen.gamma) == law
    settings = json.loads(job.params.network)
    assert settings["input"] == "published" and settings.get("drop_path", 0.2) == 0.2
    jitters = (chosen.scale_jitter, chosen.shift_jitter, chosen.colour_jitter)
    assert (jitters == (0.0, 0.0, 0.0)) == (network == "s2hand")  # which is turned in the plane and nothing else


def test_the_large_study_trains_all_networks_alike_and_the_later_go_on_from_earlier_ones() -> None:
    with planned(ROOT / "config/large.yaml", ["table_baselines"]) as workflow:
        trained = {job.wildcards.network: job for job in workflow.dag.jobs if job.rule.name == "train_network"}
    assert len(trained) == 5 and len({job.params.settings for job in trained.values()}) == 1
    for first, later in {"s2hand": {"cmr", "metro", "simplehand"}, "metro": {"graphormer"}}.items():
        given = f"--initial results/large/train/{first}-"
        assert {name for name, job in trained.items() if given in job.shellcmd} == later


def test_several_devices_are_started_by_torchrun(study_file) -> None:
    study = study_file(study="dag", train={"devices": 2})
    job, single = train_job(study, "s2hand-full-s0"), train_job(study_file(study="dag"), "s2hand-full-s0")
    torchrun = "OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 python -m torch.distributed.run --standalone --nproc-per-node 2"
    assert f"{torchrun} -m handgap.train.step" in job.shellcmd
    assert job.threads == 2
    assert "python -m handgap.train.step" in single.shellcmd


def test_a_recipe_hands_on_its_subsets_and_its_joints(study_file) -> None:
    sources = [
        {"dataset": "proxyfrei", "images": "real", "weight": 2.0},
        {"dataset": "proxyfrei", "images": "own", "subset": {"images": 40, "backgrounds": 0.5}},
    ]
    recipe = {"sources": sources, "amplitude": True, "joints": "nimble"}
    job = train_job(study_file(study="dag", recipes={"mixed": recipe}), "s2hand-mixed-s0")
    real, own = (json.loads(value) for value in shlex.split(job.params.sources)[1::2])
    assert (real["synthetic"], real["weight"], real["subset"]["images"]) == (False, 2.0, 1.0)
    assert (own["synthetic"], own["subset"]) == (
        True,
        {"images": 40, "poses": 1.0, "backgrounds": 0.5, "textures": 1.0},
    )
    assert all("/real/" in path for path in real["shards"]) and all("/own/" in path for path in own["shards"])
    assert "--nimble-joints-of results/models/open_nimble.npz" in job.shellcmd
    assert "results/models/open_nimble.npz" in job.input
    plain = train_job(study_file(study="dag"), "s2hand-full-s0")
    assert "nimble" not in plain.shellcmd


def test_amplitudes_of_real_images_need_the_real_images(study_file) -> None:
    with planned(study_file(study="dag", amplitude={"method": "fda"}), ["table_ablation"]) as workflow:
        jobs = {job.wildcards.recipe: job for job in workflow.dag.jobs if job.rule.name == "train_network"}
    assert all("/real/" in path for path in jobs["full"].input.targets)
    assert jobs["full"].input.targets and not jobs["no_amplitude"].input.targets


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"sead": 1}, "sead"),
        ({"experiments": ["table_nine"]}, r"table_nine\.yaml"),
        ({"prior": {"datasets": ["none"]}}, "prior.datasets: 'none'"),
    ],
)
def test_a_wrong_study_is_one_clear_error(study_file, keys: dict, where: str) -> None:
    with pytest.raises(Exception, match=where), planned(study_file(study="dag", **keys)):
        pass


def test_a_mesh_hierarchy_needs_its_hand_only() -> None:
    assert jobs(SMOKE, "results/models/open_mano_hierarchy.npz").keys() == {"build_hierarchy", "forge_hands"}
    licensed = jobs(SMOKE, "results/models/mano_hierarchy.npz")
    assert licensed.keys() == {"build_hierarchy", "convert_mano", "fetch_asset"}


def test_a_stage_without_labels_waits_for_detections_and_for_the_stages_it_starts_from(study_file) -> None:
    sizes = {"shard_size": 8, "datasets": {"proxyfrei": {"splits": {"train": 24, "test": 8}}}}
    study = study_file(study="dag", **sizes)
    with planned(study, ["table_self_supervised"]) as workflow:
        trained = {job.wildcards.network: job for job in workflow.dag.jobs if job.rule.name == "train_network"}
        detected = [job for job in workflow.dag.jobs if job.rule.name == "detect_keypoints"]
    assert set(trained) == {"s2hand", "s2hand_shape", "s2hand_kp", "s2hand_finetune"}
    assert {job.wildcards.split for job in detected} == {"train"} and len(detected) == 3
    assert [Path(path).parent.name for path in trained["s2hand_finetune"].input.initial] == [
        "s2hand_shape-real-s0",
        "s2hand_kp-real-s0",
    ]
    for name, job in trained.items():
        value = json.loads(shlex.split(job.params.sources)[1])
        expected = [] if name == "s2hand" else [path.replace("/real/", "/keypoints/") for path in value["shards"]]
        assert value["keypoints"] == expected


def test_a_stage_without_labels_takes_real_images_only(study_file) -> None:
    with pytest.raises(Exception, match="train it on a recipe of real images"):
        jobs(study_file(study="dag"), "results/dag/train/s2hand_shape-full-s0/model.pt")


def test_the_published_study_has_s2hand_as_published(study_file) -> None:
    config = ROOT / "config" / "published.yaml"
    with planned(config, ["results/published/train/s2hand_finetune-real-s0/model.pt"]) as workflow:
        trained = {job.wildcards.network: job for job in workflow.dag.jobs if job.rule.name == "train_network"}
    assert set(trained) == {"s2hand_shape", "s2hand_kp", "s2hand_finetune"}
    rates = {name: json.loads(job.params.settings)["learning_rate"] for name, job in trained.items()}
    assert rates == {"s2hand_shape": 1e-3, "s2hand_kp": 1e-3, "s2hand_finetune": 2.5e-4}
    for job in trained.values():
        network = json.loads(job.params.network)
        assert network["hourglass"] == {"stacks": 2, "depth": 4, "modules": 2, "features": 256}
        assert (network["pose_units"], network["mean_shape"], network["render_size"]) == ("components", True, 224)


@pytest.mark.parametrize(("images", "rule"), [("real", "render_real"), ("synthetic", "render_synthetic")])
def test_a_split_in_another_format_needs_the_shards_of_that_split_alone(study_file, images: str, rule: str) -> None:
    study = study_file(study="dag", shard_size=8, datasets={"proxyfrei": {"splits": {"train": 20, "test": 8}}})
    with planned(study, [f"results/dag/export/coco/{images}/proxyfrei-train"]) as workflow:
        (export,) = [job for job in workflow.dag.jobs if job.rule.name == "export_split"]
        count = Counter(job.rule.name for job in workflow.dag.jobs)
    assert [Path(path).stem for path in export.input.shards] == ["00000", "00001", "00002"]
    assert count[rule] == 3 and not {"train_network", "compose_shard", "segment_shard"} & set(count)


def test_exports_are_no_part_of_a_study() -> None:
    assert "export_split" not in jobs(ROOT / "config" / "config.yaml")
