"""The whole study, its validation, and the files generated from it."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from handgap.core.config.assets import Assets
from handgap.core.config.base import Name, Section, problems
from handgap.core.config.compose import Composition
from handgap.core.config.dataset import Dataset
from handgap.core.config.evaluate import Evaluate
from handgap.core.config.fit import Fit
from handgap.core.config.imported import AnyDataset
from handgap.core.config.networks import (
    CmrNetwork,
    GraphormerNetwork,
    HourglassSize,
    MetroNetwork,
    Network,
    S2HandNetwork,
    SimpleHandNetwork,
    TransformerWeights,
)
from handgap.core.config.prior import Prior
from handgap.core.config.render import Render
from handgap.core.config.segment import Segment
from handgap.core.config.train import Amplitude, Recipe, Source, Train
from handgap.core.errors import ConfigError

# the spread of the open hand's components falls off fast: only in its proportions do they bend fingers as hands do
OPEN_HAND = {"pose_units": "deviations"}
SHORT = {"image_size": 64, "epochs": 6}  # its heatmaps cost as pixels do
# widths of a laptop; squared metres and metres brought to the size of the 2D terms, which otherwise hide the depth
SMALL_TRANSFORMER = {
    "widths": (128, 64), "layers": 1, "coarse_level": 3, "dropout": 0.0,
    "weights": TransformerWeights(joints=1000, vertices=100),
}  # fmt: skip
SMALL_HOURGLASS = HourglassSize(modules=1, features=64)


class Study(Section):
    """One study: everything the DAG is derived from."""

    study: Name = Field("open", description="name; results go under results/<study>")
    seed: int = Field(0, ge=0, description="root of all random numbers")
    shard_size: int = Field(48, ge=1, description="samples per file; does not change the samples")
    assets: Assets = Field(default_factory=Assets, description="asset set")
    datasets: dict[Name, AnyDataset] = Field({"proxyfrei": Dataset()}, description="real side, by name")
    fit: Fit = Field(default_factory=Fit, description="fit stage")
    render: Render = Field(default_factory=Render, description="render stage")
    segment: Segment = Field(default_factory=Segment, description="segment stage")
    compositions: dict[Name, Composition] = Field(
        {
            "none": Composition(arm="none", object="none"),
            "own": Composition(),
            "own_object": Composition(arm="none"),
            "own_arm": Composition(object="none"),
            "random": Composition(arm="random", object="random"),
            "random_rgb": Composition(fill="rgb"),
            "random_region_rgb": Composition(fill="region_rgb"),
        },
        description="composition variants, by name",
    )
    amplitude: Amplitude = Field(default_factory=Amplitude, description="amplitude spectrum augmentation")
    recipes: dict[Name, Recipe] = Field(
        {
            "real": Recipe(sources=[Source(dataset="proxyfrei", images="real")], amplitude=False),
            "full": Recipe(sources=[Source(dataset="proxyfrei", images="own")], amplitude=True),
            "no_arm": Recipe(sources=[Source(dataset="proxyfrei", images="own_object")], amplitude=True),
            "no_amplitude": Recipe(sources=[Source(dataset="proxyfrei", images="own")], amplitude=False),
            "no_object": Recipe(sources=[Source(dataset="proxyfrei", images="own_arm")], amplitude=True),
            "random_pairs": Recipe(sources=[Source(dataset="proxyfrei", images="random")], amplitude=True),
        },
        description="training recipes, by name",
    )
    networks: dict[Name, Network] = Field(
        {
            "s2hand": S2HandNetwork(mean_shape=False, **OPEN_HAND),
            "s2hand_shape": S2HandNetwork(stage="shape", **OPEN_HAND),
            "s2hand_kp": S2HandNetwork(stage="kp", pretrained=False, hourglass=SMALL_HOURGLASS),
            "s2hand_finetune": S2HandNetwork(
                stage="finetune",
                initial=["s2hand_shape", "s2hand_kp"],
                render_size=64,
                hourglass=SMALL_HOURGLASS,
                **OPEN_HAND,
            ),
            "cmr": CmrNetwork(channels=(128, 128, 64, 32), spiral_length=9, train=SHORT),
            "metro": MetroNetwork(**SMALL_TRANSFORMER),
            "graphormer": GraphormerNetwork(**SMALL_TRANSFORMER),
            "simplehand": SimpleHandNetwork(),
        },
        description="networks, by name",
    )
    train: Train = Field(default_factory=Train, description="train stage")
    prior: Prior = Field(
        default_factory=lambda: Prior(
            frame="palm", drawn_hands=20000, epochs=20, batch=128, learning_rate=1e-3, kl_weight=1e-5
        ),
        description="occlusion prior",
    )
    evaluate: Evaluate = Field(default_factory=Evaluate, description="evaluate stage")
    experiments: list[Name] = Field(
        ["table_main", "table_ablation", "table_self_supervised", "table_prior", "table_networks", "figure_spectrum"],
        description="files of config/experiments that `snakemake all` makes",
    )

    @model_validator(mode="after")
    def _references_exist(self) -> "Study":
        for dataset in self.prior.datasets:
            if dataset not in self.datasets:
                raise ValueError(f"prior.datasets: '{dataset}' is not one of {list(self.datasets)}")
        for name, recipe in self.recipes.items():
            for source in recipe.sources:
                if source.dataset not in self.datasets:
                    raise ValueError(f"recipes.{name}: dataset '{source.dataset}' is not one of {list(self.datasets)}")
                if source.images != "real" and source.images not in self.compositions:
                    choices = ["real", *self.compositions]
                    raise ValueError(f"recipes.{name}: images '{source.images}' is not one of {choices}")
                partners = source.images != "real" and self.compositions[source.images].origin == "random"
                if partners and self.datasets[source.dataset].splits.get("train") == 1:
                    problem = f"'{source.images}' pastes pieces of other images, split 'train' has a single one"
                    raise ValueError(f"datasets.{source.dataset}: {problem}; give it two")
        return self

    @model_validator(mode="after")
    def _networks_can_be_trained(self) -> "Study":
        for name in self.networks:
            try:
                self.training(name)
            except ValidationError as error:
                reasons = "; ".join(item["msg"] for item in error.errors())
                raise ValueError(f"networks.{name}.train on top of train: {reasons}") from error
        return self

    @model_validator(mode="after")
    def _initial_networks_exist(self) -> "Study":
        for name in self.networks:
            above, waiting = {name}, [name]
            while waiting:
                for other in self.networks[waiting.pop()].initial:
                    if other not in self.networks:
                        raise ValueError(f"networks.{name}.initial: '{other}' is not one of {list(self.networks)}")
                    if other == name:
                        raise ValueError(f"networks.{name}.initial: it would have to be trained before itself")
                    if other not in above:
                        above.add(other)
                        waiting.append(other)
        return self

    def training(self, network: str) -> Train:
        """Settings that a network of this study is trained with: `train`, and what the network sets for itself."""
        return self.train.overridden(self.networks[network].train)


def parse_study(raw: dict[str, Any], origin: str) -> Study:
    """Validate a study; all problems are listed at once.

    Args:
        raw: the configuration as read from YAML (and the command line).
        origin: file it came from, for the message.

    Raises:
        ConfigError: unknown keys or values out of range.
    """
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(origin, problems(error), "every key is described in config/schema.json") from error


def _comments(model: type[BaseModel]) -> dict[str, str]:
    return {name: field.description or "" for name, field in model.model_fields.items()}


def config_yaml() -> str:
    """Text of config/config.yaml: the default study, each key with its description."""
    lines = [
        "# yaml-language-server: $schema=./schema.json",
        "# Generated from workflow/handgap/core/config by `make config`; other studies override parts of it.",
    ]
    study = Study()
    sections = {n: type(v) for n, v in study if isinstance(v, Section)}
    for key, value in study.model_dump(mode="json").items():
        comment = _comments(Study)[key]
        lines.append(f"\n# {comment}")
        if key in sections:
            lines.append(f"{key}:")
            for name, item in value.items():
                text = yaml.safe_dump({name: item}, default_flow_style=True, width=1000).strip()[1:-1]
                lines.append(f"  {text}  # {_comments(sections[key])[name]}")
        elif isinstance(value, dict):
            lines.append(f"{key}:")
            for name, item in value.items():
                text = yaml.safe_dump(item, default_flow_style=True, width=1000, sort_keys=False).strip()
                lines.append(f"  {name}: {text}")
        else:
            lines.append(f"{key}: {json.dumps(value)}" if not isinstance(value, str) else f"{key}: {value}")
    return "\n".join(lines) + "\n"


def schema_json() -> str:
    """Text of config/schema.json."""
    return json.dumps(Study.model_json_schema(), indent=2) + "\n"


def write_generated(folder: Path) -> None:
    """Write config.yaml and schema.json into `folder`."""
    (folder / "config.yaml").write_text(config_yaml())
    (folder / "schema.json").write_text(schema_json())


if __name__ == "__main__":
    write_generated(Path(sys.argv[1]))
