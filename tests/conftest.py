from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, WorkflowSettings

ROOT = Path(__file__).parents[1]


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
