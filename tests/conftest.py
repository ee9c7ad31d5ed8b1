from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, WorkflowSettings

ROOT = Path(__file__).parents[1]
MADE = (
    *(
        f"models/{name}"
        for name in ("open_mano.npz", "open_nimble.npz", "open_nimble_skins.h5", "open_nimble_textures.npz")
    ),
    *(f"assets/{name}/asset.json" for name in ("efficientnet_lite0", "hdri_bpy", "mobilesam")),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need what a study makes come after those that run one."""
    items.sort(key=lambda item: "made" in item.fixturenames)


@pytest.fixture(scope="session")
def made() -> Path:
    """The folder results/, with the hand models and assets of an earlier run."""
    if missing := [name for name in MADE if not (ROOT / "results" / name).exists()]:
        pytest.skip(f"results/{missing[0]} is not there: `make smoke` makes it")
    return ROOT / "results"


@contextmanager
def planned(config: Path, targets: Sequence[str] = (), workdir: Path | None = None):
    """The workflow with its DAG built in this process, nothing run: `.rules` and `.dag.jobs`."""
    with SnakemakeApi(OutputSettings(verbose=False, show_failed_logs=False, dryrun=True, quiet={"all"})) as api:
        workflow_api = api.workflow(
            snakefile=ROOT / "Snakefile",
            workdir=workdir,
            resource_settings=ResourceSettings(cores=2),
            config_settings=ConfigSettings(configfiles=[ROOT / "config/config.yaml", config]),
            workflow_settings=WorkflowSettings(),
        )
        dag_api = workflow_api.dag(dag_settings=DAGSettings(targets=set(targets)))
        dag_api.execute_workflow(executor="dryrun")
        yield workflow_api._workflow


@pytest.fixture
def study_file(tmp_path: Path):
    """Write a study that overrides parts of the default one."""

    def write(**keys: object) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(keys))
        return path

    return write
