# What comes from outside: fetched by package name, checked, kept for all studies.


rule fetch_asset:
    output:
        "results/assets/{asset}/asset.json",
    log:
        "<logs>/fetch_asset/{asset}.log",
    benchmark:
        "<benchmarks>/fetch_asset/{asset}.jsonl"
    retries: 2
    conda:
        "../envs/assets.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("assets.step"),
        row=lambda wildcards: asset_row(wildcards.asset),
    message:
        "Fetching asset {wildcards.asset}"
    shell:
        "python -m handgap.assets.step fetch {wildcards.asset} --table config/assets.csv --out {output} >{log} 2>&1"


rule doctor:
    log:
        "<logs>/doctor.log",
    benchmark:
        "<benchmarks>/doctor.jsonl"
    localrule: True
    conda:
        "../envs/assets.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    message:
        "Assets: what is present, what is missing, what works without it"
    shell:
        "python -m handgap.assets.step doctor --table config/assets.csv --root results/assets 2>&1 | tee {log}"
