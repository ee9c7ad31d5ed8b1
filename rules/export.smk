# Splits in the formats of others, by name only: `snakemake results/open/export/coco/own/proxyfrei-train`.


rule export_split:
    input:
        shards=exported_shards,
        mano=f"{MODELS}/open_mano.npz",
        nimble=f"{MODELS}/open_nimble.npz",
        textures=worn_textures,
    output:
        directory("<results>/export/{form}/{images}/{dataset}-{split}"),
    log:
        "<logs>/export_split/{form}/{images}/{dataset}-{split}.log",
    benchmark:
        "<benchmarks>/export_split/{form}/{images}/{dataset}-{split}.jsonl"
    wildcard_constraints:
        form="|".join(get_args(FormatName)),
        images="[a-z][a-z0-9_]*",
    conda:
        "../envs/export.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("mem"),
    params:
        code=code_of("export.step"),
        textures=lambda wildcards, input: repeated("--textures", input.textures),
    message:
        "Exporting {wildcards.images} {wildcards.dataset}/{wildcards.split} as {wildcards.form}"
    shell:
        "python -m handgap.export.step {wildcards.form} {input.shards} --out {output} --split {wildcards.split} "
        "--annotation-hand {input.mano} --render-hand {input.nimble} {params.textures} --code {params.code} "
        ">{log} 2>&1"
