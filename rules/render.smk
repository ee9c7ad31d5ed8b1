# Cycles: the proxy-real side from nothing but a seed, the synthetic side from the fit.


rule render_real:
    input:
        mano=f"{MODELS}/open_mano.npz",
        nimble=f"{MODELS}/open_nimble.npz",
        skins=f"{MODELS}/open_nimble_skins.h5",
        hdris=HDRI_ASSETS,
        objects=OBJECT_ASSETS,
    output:
        "<results>/real/{dataset}/{split}/{shard}.h5",
    log:
        "<logs>/render_real/{dataset}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/render_real/{dataset}/{split}/{shard}.jsonl"
    wildcard_constraints:
        dataset=one_of(PROXIES),
    retries: 1
    conda:
        "../envs/render.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("mem"),
    params:
        code=code_of("render.step"),
        settings=settings(STUDY.render),
        dataset=lambda wildcards: scene_settings(wildcards.dataset),
        hdris=hdri_options,
        objects=json.dumps(STUDY.assets.objects),
        catalogue=catalogue_option,
        first=first_id,
        size=id_count,
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Rendering proxy-real {wildcards.dataset}/{wildcards.split} {wildcards.shard}"
    shell:
        "python -m handgap.render.step proxy --dataset {wildcards.dataset} --split {wildcards.split} "
        "--first {params.first} --count {params.size} --dataset-settings {params.dataset:q} "
        "--render-hand {input.nimble} --annotation-hand {input.mano} --skins {input.skins} {params.hdris} "
        "--objects {params.objects:q} {params.catalogue} "
        "--state results/.state/{params.study}/real/{wildcards.dataset}/{wildcards.split}/{wildcards.shard} "
        "--out {output} --threads {threads} --study {params.study} --seed {params.seed} --code {params.code} "
        "--settings {params.settings:q} >{log} 2>&1"


rule render_synthetic:
    input:
        fit="<results>/fit/{dataset}/{split}/{shard}.h5",
        nimble=model_of("render"),
        textures=model_of("textures"),
        hdris=HDRI_ASSETS,
    output:
        "<results>/synthetic/{dataset}/{split}/{shard}.h5",
    log:
        "<logs>/render_synthetic/{dataset}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/render_synthetic/{dataset}/{split}/{shard}.jsonl"
    retries: 1
    conda:
        "../envs/render.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("mem"),
    params:
        code=code_of("render.step"),
        settings=settings(STUDY.render),
        hdris=hdri_options,
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Rendering synthetic {wildcards.dataset}/{wildcards.split} {wildcards.shard}"
    shell:
        "python -m handgap.render.step synthetic {input.fit} --render-hand {input.nimble} --textures {input.textures} "
        "{params.hdris} --dataset {wildcards.dataset} --split {wildcards.split} "
        "--state results/.state/{params.study}/synthetic/{wildcards.dataset}/{wildcards.split}/{wildcards.shard} "
        "--out {output} --threads {threads} --study {params.study} --seed {params.seed} --code {params.code} "
        "--settings {params.settings:q} >{log} 2>&1"
