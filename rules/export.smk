# Splits in the formats of others, by name only: `snakemake results/open/export/coco/own/proxyfrei-train`.


rule export_split:
    input:
        shards=exported_shards,
        mano=model_of("annotation"),
        nimble=worn_model("render"),
        textures=worn_model("textures"),
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
        nimble=lambda wildcards, input: repeated("--render-hand", input.nimble),
        textures=lambda wildcards, input: repeated("--textures", input.textures),
    message:
        "Exporting {wildcards.images} {wildcards.dataset}/{wildcards.split} as {wildcards.form}"
    shell:
        "python -m handgap.export.step {wildcards.form} {input.shards} --out {output} --split {wildcards.split} "
        "--annotation-hand {input.mano} {params.nimble} {params.textures} --code {params.code} "
        ">{log} 2>&1"
