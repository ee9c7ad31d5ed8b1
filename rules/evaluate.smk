# Predictions -> metrics of the published protocol; an outside judge of the renders.


rule evaluate_run:
    input:
        pred="<results>/predictions/{run}/{dataset}-{split}.h5",
        truth=split_shards("real"),
    output:
        csv="<results>/metrics/{run}/{dataset}-{split}.csv",
        samples="<results>/metrics/{run}/{dataset}-{split}.h5",
    log:
        "<logs>/evaluate_run/{run}/{dataset}-{split}.log",
    benchmark:
        "<benchmarks>/evaluate_run/{run}/{dataset}-{split}.jsonl"
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("small"),
    params:
        code=code_of("evaluate.step"),
        settings=evaluation,
        truth=lambda wildcards, input: repeated("--truth", input.truth),
        run=run_options,
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Evaluating {wildcards.run} on {wildcards.dataset}/{wildcards.split}"
    shell:
        "python -m handgap.evaluate.step --pred {input.pred} {params.truth} --out {output.csv} "
        "--per-sample {output.samples} {params.run} "
        "--dataset {wildcards.dataset} --split {wildcards.split} --study {params.study} --seed {params.seed} "
        "--code {params.code} --settings {params.settings:q} >{log} 2>&1"


rule judge_renders:
    input:
        unpack(quality_groups),
    output:
        report(
            "<results>/tables/quality_render.csv",
            caption="../workflow/report/quality_render.rst",
            category="Quality",
            labels={"what": "renders, judged by MediaPipe Hands"},
        ),
    log:
        "<logs>/judge_renders.log",
    benchmark:
        "<benchmarks>/judge_renders.jsonl"
    conda:
        "../envs/evaluate.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("cpu"),
    params:
        code=code_of("evaluate.judge_step"),
        groups=group_options,
    message:
        "Looking for hands in the renders with MediaPipe Hands"
    shell:
        "python -m handgap.evaluate.judge_step {params.groups} --out {output} >{log} 2>&1"


use rule judge_renders as judge_test_renders with:
    input:
        unpack(test_groups),
    output:
        "<results>/tables/judge.csv",
    log:
        "<logs>/judge_test_renders.log",
    benchmark:
        "<benchmarks>/judge_test_renders.jsonl"
    message:
        "Looking for hands in the renders of the test splits with MediaPipe Hands"
