# 2D joints of the real images as a detector sees them: what self-supervised networks learn from. No label is read.


rule detect_keypoints:
    input:
        "<results>/real/{dataset}/{split}/{shard}.h5",
    output:
        "<results>/keypoints/{dataset}/{split}/{shard}.h5",
    log:
        "<logs>/detect_keypoints/{dataset}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/detect_keypoints/{dataset}/{split}/{shard}.jsonl"
    conda:
        "../envs/segment.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("cpu"),
    params:
        code=code_of("segment.keypoints_step"),
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Detecting joints in {wildcards.dataset}/{wildcards.split} {wildcards.shard}"
    shell:
        "python -m handgap.segment.keypoints_step {input} --out {output} --study {params.study} "
        "--seed {params.seed} --code {params.code} >{log} 2>&1"
