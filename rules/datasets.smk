# Datasets that come as files: an index of each split, then the real side's shards.


rule convert_mano_left:
    input:
        "results/assets/mano/asset.json",
    output:
        f"{MODELS}/mano_left.npz",
    log:
        "<logs>/convert_mano_left.log",
    benchmark:
        "<benchmarks>/convert_mano_left.jsonl"
    conda:
        "../envs/hands.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("hands.convert.mano"),
        folder=subpath(input[0], parent=True),
    message:
        "Converting MANO's left hand"
    shell:
        "python -m handgap.cli convert mano {params.folder}/MANO_LEFT.pkl {output} >{log} 2>&1"


rule index_dataset:
    output:
        "<results>/index/{dataset}/{split}.h5",
    log:
        "<logs>/index_dataset/{dataset}/{split}.log",
    benchmark:
        "<benchmarks>/index_dataset/{dataset}/{split}.jsonl"
    wildcard_constraints:
        dataset=one_of(IMPORTED),
    conda:
        "../envs/hands.yaml"
    threads: 1
    resources:
        mem_mb=mem("mem"),
        runtime=runtime("mem"),
    params:
        code=lambda wildcards: import_code(wildcards.dataset, "data.adapters.registry"),
        settings=lambda wildcards: import_settings(wildcards.dataset),
    message:
        "Listing {wildcards.dataset}/{wildcards.split}"
    shell:
        "python -m handgap.ingest.step index --settings {params.settings:q} --split {wildcards.split} "
        "--out {output} >{log} 2>&1"


rule import_dataset:
    input:
        index="<results>/index/{dataset}/{split}.h5",
        hands=lambda wildcards: import_hands(wildcards.dataset),
    output:
        "<results>/real/{dataset}/{split}/{shard}.h5",
    log:
        "<logs>/import_dataset/{dataset}/{split}/{shard}.log",
    benchmark:
        "<benchmarks>/import_dataset/{dataset}/{split}/{shard}.jsonl"
    wildcard_constraints:
        dataset=one_of(IMPORTED),
    conda:
        "../envs/hands.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("cpu"),
    params:
        code=lambda wildcards: import_code(wildcards.dataset, "ingest.step"),
        settings=lambda wildcards: import_settings(wildcards.dataset),
        hands=hand_options,
        first=first_id,
        size=id_count,
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Importing {wildcards.dataset}/{wildcards.split} {wildcards.shard}"
    shell:
        "python -m handgap.ingest.step shard {input.index} --settings {params.settings:q} --split {wildcards.split} "
        "--first {params.first} --count {params.size} {params.hands} --out {output} --study {params.study} "
        "--seed {params.seed} --code {params.code} >{log} 2>&1"
