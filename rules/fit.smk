# Annotation-hand meshes of the real side -> parameters of the render hand.


rule fit_shard:
    input:
        real="<results>/real/{dataset}/{split}/{shard}.h5",
        mano=model_of("annotation"),
        nimble=model_of("render"),
    output:
        "<results>/fit/{dataset}/{split}/{shard}.h5",
    log:
        "<logs>/fit_shard/{dataset}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/fit_shard/{dataset}/{split}/{shard}.jsonl"
    conda:
        "../envs/fit.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("cpu"),
    params:
        code=code_of("hands.fit.step"),
        settings=settings(STUDY.fit),
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Fitting the render hand to {wildcards.dataset}/{wildcards.split} {wildcards.shard}"
    shell:
        "python -m handgap.hands.fit.step {input.real} --render-hand {input.nimble} --annotation-hand {input.mano} "
        "--out {output} --study {params.study} --seed {params.seed} --code {params.code} "
        "--settings {params.settings:q} >{log} 2>&1"
