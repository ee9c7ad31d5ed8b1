from snakemake.utils import min_version

min_version("9.25")


configfile: "config/config.yaml"


pathvars:
    results=f"results/{config['study']}",
    logs=f"results/{config['study']}/logs",
    benchmarks=f"results/{config['study']}/benchmarks",


report: "workflow/report/workflow.rst"


wildcard_constraints:
    asset="[a-z0-9_]+",
    dataset="[a-z][a-z0-9_]*",
    split="[a-z][a-z0-9_]*",
    variant="[a-z][a-z0-9_]*",
    shard=r"\d{5}",
    network="[a-z][a-z0-9_]*",
    recipe="[a-z][a-z0-9_]*",
    run_seed=r"\d+",
    run=r"[a-z][a-z0-9_]*(-[a-z][a-z0-9_]*-s\d+)?(\+prior)?",
    table="table_[a-z0-9_]+",


include: "rules/common.smk"
include: "rules/runs.smk"
include: "rules/study.smk"
include: "rules/assets.smk"
include: "rules/hands.smk"
include: "rules/fit.smk"
include: "rules/render.smk"
include: "rules/datasets.smk"
include: "rules/segment.smk"
include: "rules/keypoints.smk"
include: "rules/compose.smk"
include: "rules/train.smk"
include: "rules/prior.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"
include: "rules/export.smk"


rule all:
    default_target: True
    input:
        study_products(),
    localrule: True
