# Arm and object masks of the real side; scored where truth exists.


rule segment_shard:
    input:
        real="<results>/real/{dataset}/{split}/{shard}.h5",
        mano=model_of("annotation"),
        weights=f"results/assets/{SEGMENTER.asset}/asset.json",
        text=[f"results/assets/{found.asset}/asset.json" for found in TEXT_ASSETS],
    output:
        "<results>/masks/{dataset}/{split}/{shard}.h5",
    log:
        "<logs>/segment_shard/{dataset}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/segment_shard/{dataset}/{split}/{shard}.jsonl"
    conda:
        "../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("mem"),
    params:
        code=code_of("segment.step"),
        settings=settings(STUDY.segment),
        weights=lambda wildcards, input: weights_of([SEGMENTER], input.weights)[0],
        text=text_options,
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Segmenting {wildcards.dataset}/{wildcards.split} {wildcards.shard}"
    shell:
        "python -m handgap.segment.step masks {input.real} --weights {params.weights} {params.text} "
        "--annotation-hand {input.mano} --out {output} --study {params.study} --seed {params.seed} "
        "--code {params.code} --settings {params.settings:q} >{log} 2>&1"


rule score_masks:
    input:
        real=lambda wildcards: quality_shards("real"),
        masks=lambda wildcards: quality_shards("masks"),
    output:
        report(
            "<results>/tables/quality_segment.csv",
            caption="../workflow/report/quality_segment.rst",
            category="Quality",
            labels={"what": "segmentation against truth"},
        ),
    log:
        "<logs>/score_masks.log",
    benchmark:
        "<benchmarks>/score_masks.jsonl"
    conda:
        "../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("small"),
    params:
        code=code_of("segment.step"),
        real=lambda wildcards, input: repeated("--real", input.real),
        masks=lambda wildcards, input: repeated("--masks", input.masks),
    message:
        "Scoring SAM's masks against the exact ones"
    shell:
        "python -m handgap.segment.step score {params.real} {params.masks} --out {output} >{log} 2>&1"


rule draw_failures:
    input:
        real=lambda wildcards: shards("real", wildcards.dataset, "train"),
        masks=lambda wildcards: shards("masks", wildcards.dataset, "train"),
    output:
        report(
            "<results>/gallery/failures-{dataset}.jpg",
            caption="../workflow/report/gallery_failures.rst",
            category="Gallery",
            labels={"stage": "5 masks", "what": "{dataset}, worst"},
        ),
    log:
        "<logs>/draw_failures/{dataset}.log",
    benchmark:
        "<benchmarks>/draw_failures/{dataset}.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("report.step"),
        masks=lambda wildcards, input: repeated("--masks", input.masks),
    message:
        "Contact sheet of the worst masks of {wildcards.dataset}"
    shell:
        "python -m handgap.report.step failures {input.real} {params.masks} "
        "--title 'masks: {wildcards.dataset}, the worst' --out {output} >{log} 2>&1"
