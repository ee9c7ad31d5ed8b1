import json
from pathlib import Path

import pytest
import yaml
from handgap.core.config.experiment import load_experiment
from handgap.core.config.study import Study, config_yaml, parse_study, schema_json
from handgap.core.errors import ConfigError
from snakemake.utils import update_config

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "text"), [("config.yaml", config_yaml), ("schema.json", schema_json)])
def test_generated_files_have_not_drifted(name: str, text) -> None:
    assert (ROOT / "config" / name).read_text() == text(), "run `make config`"


def test_default_yaml_is_the_default_study() -> None:
    assert parse_study(yaml.safe_load(config_yaml()), "config.yaml") == Study()


def test_every_key_is_described() -> None:
    schema = json.loads(schema_json())
    for name, model in {"Study": schema, **schema["$defs"]}.items():
        for key, field in model["properties"].items():
            assert field.get("description"), f"{name}.{key}"


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"sead": 1}, "sead"),
        ({"render": {"sampels": 4}}, r"render\.sampels"),
        ({"seed": -1}, "seed"),
        ({"segment": {"prompts": ["hand", "hand. arm", "object"]}}, r"segment\.prompts\.1"),
        ({"segment": {"prompts": ["hand", "arm", "[SEP]"]}}, r"segment\.prompts\.2"),
        ({"segment": {"prompts": ["hand", " ", "object"]}}, r"segment\.prompts\.1"),
        ({"datasets": {"proxyfrei": {"splits": {"train": 1, "test": 4}}}}, "'random' pastes pieces of other images"),
        ({"networks": {"x": {"architecture": "cmr", "train": {"lerning_rate": 1}}}}, r"train\.lerning_rate"),
        ({"networks": {"x": {"architecture": "cmr", "train": {"batch": 0}}}}, r"train\.batch"),
        (
            {"train": {"effective_batch": 8}, "networks": {"x": {"architecture": "cmr", "train": {"batch": 16}}}},
            r"networks\.x\.train on top of train: .*effective_batch 8 is smaller than batch 16",
        ),
        ({"train": {"schedule": "steps", "milestones": [0.8, 0.5]}}, "do not rise"),
        ({"train": {"devices": 16}}, "8 images leaves some of 16 devices"),
        ({"recipes": {"x": {"sources": [{"dataset": "proxyfrei", "images": "own", "subset": {"images": 1.5}}]}}}, "1"),
        ({"recipes": {"x": {"sources": [{"dataset": "nowhere", "images": "own"}], "amplitude": True}}}, "nowhere"),
    ],
)
def test_wrong_key_is_one_clear_error(raw: dict, where: str) -> None:
    with pytest.raises(ConfigError, match=where) as error:
        parse_study(raw, "config/mine.yaml")
    assert "config/mine.yaml" in str(error.value)


def test_a_network_overrides_what_it_names_only() -> None:
    cmr = {"architecture": "cmr", "train": {"learning_rate": 1e-4, "effective_batch": 32}}
    study = parse_study({"train": {"epochs": 7}, "networks": {"cmr": cmr, "other": {"architecture": "cmr"}}}, "mine")
    merged = study.training("cmr")
    assert (merged.learning_rate, merged.effective_batch, merged.epochs) == (1e-4, 32, 7)
    assert study.training("other") == study.train
    assert study.networks["cmr"].model_dump(mode="json")["train"] == cmr["train"]


def merged_study(path: Path) -> Study:
    """A study on top of the default one, merged as Snakemake does: key by key, all the way down."""
    merged = yaml.safe_load(config_yaml())
    update_config(merged, yaml.safe_load(path.read_text()))
    return parse_study(merged, str(path))


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_study_is_valid_on_top_of_the_default(path: Path) -> None:
    study = merged_study(path)
    for name in study.experiments:
        experiment = load_experiment(ROOT / "config" / "experiments" / f"{name}.yaml")
        if experiment.kind == "networks":
            continue
        assert {row.recipe for row in experiment.rows} <= set(study.recipes)
        assert {row.network for row in experiment.rows} <= set(study.networks)


@pytest.mark.parametrize(("name", "keys"), [("published", ["image_size"]), ("large", ["image_size", "epochs"])])
def test_networks_that_are_compared_keep_no_size_of_the_default_study(name: str, keys: list[str]) -> None:
    study = merged_study(ROOT / "config" / f"{name}.yaml")
    for network in study.networks:
        assert {key: getattr(study.training(network), key) for key in keys} == {
            key: getattr(study.train, key) for key in keys
        }, network


def test_unknown_experiment_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="table_main"):
        load_experiment(ROOT / "config" / "experiments" / "table_nine.yaml")


def test_a_network_cannot_start_from_itself_or_from_none_there_is() -> None:
    networks = {"a": {"architecture": "s2hand", "initial": ["b"]}, "b": {"architecture": "s2hand", "initial": ["a"]}}
    with pytest.raises(ConfigError, match="trained before itself"):
        parse_study({"networks": networks}, "x")
    with pytest.raises(ConfigError, match="'b' is not one of"):
        parse_study({"networks": {"a": networks["a"]}}, "x")
