"""Datasets that come as files, in the DAG: planned without looking at the files."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import planned

FREIHAND = {"kind": "freihand", "root": "/nowhere/FreiHAND", "splits": {"train": 130, "test": 50}}
DEXYCB = {"kind": "dexycb", "root": "/nowhere/DexYCB", "splits": {"train": 96}}


@pytest.fixture
def study(study_file) -> Path:
    return study_file(study="dag", datasets={"frei": FREIHAND, "dex": DEXYCB, "plain": FREIHAND | {"mano": False}})


def plan(study: Path, *targets: str) -> list:
    with planned(study, [f"results/dag/real/{target}.h5" for target in targets]) as workflow:
        return list(workflow.dag.jobs)


def test_an_imported_shard_needs_its_index_and_the_hands_that_occur(study: Path) -> None:
    jobs = plan(study, "frei/train/00000", "frei/train/00002", "frei/test/00001")
    count = Counter(job.rule.name for job in jobs)
    assert count == {"import_dataset": 3, "index_dataset": 2, "convert_mano": 1, "fetch_asset": 1}
    (last,) = (job for job in jobs if str(job.output[0]).endswith("frei/train/00002.h5"))
    assert (last.params.first, last.params.size) == (96, 34)
    count = Counter(job.rule.name for job in plan(study, "dex/train/00000"))
    assert count["convert_mano"] == count["convert_mano_left"] == 1


def test_as_they_are_labels_need_no_model(study: Path) -> None:
    count = Counter(job.rule.name for job in plan(study, "plain/train/00000"))
    assert count == {"import_dataset": 1, "index_dataset": 1}


def test_proxies_are_still_rendered_and_everything_is_planned_once(study: Path) -> None:
    with planned(study, ["results/dag/real/proxyfrei/train/00000.h5"]) as workflow:
        rules = {job.rule.name for job in workflow.dag.jobs}
    assert "render_real" in rules and "import_dataset" not in rules


def test_a_recipe_of_imported_images(study_file) -> None:
    study = study_file(
        study="dag",
        datasets={"frei": FREIHAND},
        recipes={"frei": {"sources": [{"dataset": "frei", "images": "real"}], "amplitude": False}},
    )
    with planned(study, ["results/dag/predictions/simplehand-frei-s0/frei-test.h5"]) as workflow:
        count = Counter(job.rule.name for job in workflow.dag.jobs)
    assert count["import_dataset"] == 3 + 2 and count["train_network"] == count["predict"] == 1
    assert count["render_real"] == 0


def test_imported_labels_go_with_the_licensed_hands(study_file) -> None:
    study = study_file(
        study="dag",
        datasets={"frei": FREIHAND},
        recipes={"frei": {"sources": [{"dataset": "frei", "images": "own"}], "amplitude": False}},
    )
    with planned(study, ["results/dag/predictions/cmr-frei-s0/frei-test.h5"]) as workflow:
        jobs = {job.rule.name: job for job in workflow.dag.jobs}
    used = {str(path) for job in jobs.values() for path in job.input if "/models/" in str(path)}
    assert {Path(path).stem for path in used} == {"mano", "mano_hierarchy", "nimble", "nimble_textures"}


@pytest.mark.parametrize("target", ["mixed-s0/proxyfrei", "real-s0/frei"])
def test_meshes_of_two_hands_are_not_mixed(study_file, target: str) -> None:
    sources = [{"dataset": name, "images": "real"} for name in ("frei", "proxyfrei")]
    recipes = {"mixed": {"sources": sources, "amplitude": False}}
    study = study_file(study="dag", datasets={"frei": FREIHAND}, recipes=recipes)
    wanted = [f"results/dag/predictions/simplehand-{target}-test.h5"]
    with pytest.raises(Exception, match="different meshes") as error, planned(study, wanted):
        pass
    assert "keep rendered and imported datasets apart" in str(error.value)


def test_imported_datasets_are_judged_by_their_authors_protocol(study_file) -> None:
    kinds = {"frei": FREIHAND, "dex": DEXYCB | {"setup": "s2", "splits": {"train": 96, "test": 10}}}
    kinds |= {"ho": {"kind": "ho3d", "version": "v3", "root": "/nowhere/HO3D", "splits": {"train": 96, "test": 10}}}
    recipe = {"sources": [{"dataset": "frei", "images": "real"}], "amplitude": False}
    study = study_file(study="dag", datasets=kinds, recipes={"frei": recipe})
    targets = [f"results/dag/metrics/simplehand-frei-s0/{name}-test.csv" for name in kinds]
    with planned(study, targets) as workflow:
        judged = {
            job.wildcards.dataset: json.loads(job.params.settings)["protocol"]
            for job in workflow.dag.jobs
            if job.rule.name == "evaluate_run"
        }
    assert judged == {"frei": "freihand", "dex": "dexycb_s2", "ho": "ho3d_v3"}
