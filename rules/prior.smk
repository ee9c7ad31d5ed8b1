# The occlusion prior: trained once per study, applied to the predictions of any run.


rule train_prior:
    input:
        shards=prior_shards,
        mano=f"{MODELS}/open_mano.npz",
    output:
        model="<results>/prior/model.pt",
        curves="<results>/prior/curves.csv",
    log:
        "<logs>/train_prior.log",
    benchmark:
        "<benchmarks>/train_prior.jsonl"
    retries: 1
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=mem("train"),
        runtime=runtime("cpu"),
    params:
        code=code_of("train.prior_step"),
        settings=settings(STUDY.prior),
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Training the occlusion prior"
    shell:
        "python -m handgap.train.prior_step train {input.shards} --annotation-hand {input.mano} "
        "--settings {params.settings:q} --out {output.model} --curves {output.curves} "
        "--study {params.study} --seed {params.seed} --code {params.code} >{log} 2>&1"


rule refine:
    input:
        pred="<results>/predictions/{run}/{dataset}-{split}.h5",
        shards=split_shards("real"),
        prior="<results>/prior/model.pt",
    output:
        "<results>/predictions/{run}+prior/{dataset}-{split}.h5",
    log:
        "<logs>/refine/{run}/{dataset}-{split}.log",
    benchmark:
        "<benchmarks>/refine/{run}/{dataset}-{split}.jsonl"
    wildcard_constraints:
        run=r"[a-z0-9_]+(-[a-z0-9_]+-s\d+)?",
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("small"),
    params:
        code=code_of("train.prior_step"),
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Refining the predictions of {wildcards.run} for {wildcards.dataset}/{wildcards.split} by the occlusion prior"
    shell:
        "python -m handgap.train.prior_step refine {input.shards} --pred {input.pred} --prior {input.prior} "
        "--out {output} --study {params.study} --seed {params.seed} --code {params.code} >{log} 2>&1"
