# Arm and object masks of the real side; scored where truth exists.


rule segment_shard:
    input:
        real="<results>/real/{dataset}/{split}/{shard}.h5",
        mano=f"{MODELS}/open_mano.npz",
        weights="results/assets/mobilesam/asset.json",
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
        weights=subpath(input.weights, parent=True),
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Segmenting {wildcards.dataset}/{wildcards.split} {wildcards.shard}"
    shell:
        "python -m handgap.segment.step masks {input.real} --weights {params.weights}/mobile_sam.pt "
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
