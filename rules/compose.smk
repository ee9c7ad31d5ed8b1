# Pieces of real images into synthetic ones, and the amplitude spectra of both.


rule compose_shard:
    input:
        synthetic="<results>/synthetic/{dataset}/{split}/{shard}.h5",
        real=pasted_shards("real"),
        masks=pasted_shards("masks"),
    output:
        "<results>/composed/{dataset}/{split}/{variant}/{shard}.h5",
    log:
        "<logs>/compose_shard/{dataset}/{split}/{variant}/{shard}.log",
    benchmark:
        "<benchmarks>/compose_shard/{dataset}/{split}/{variant}/{shard}.jsonl"
    conda:
        "../envs/compose.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("cpu"),
    params:
        code=code_of("compose.step"),
        composition=lambda wildcards: settings(STUDY.compositions[wildcards.variant]),
        real=lambda wildcards, input: repeated("--real", input.real),
        masks=lambda wildcards, input: repeated("--masks", input.masks),
        split_size=split_size_option,
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Composing {wildcards.variant} {wildcards.dataset}/{wildcards.split} {wildcards.shard}"
    shell:
        "python -m handgap.compose.step {input.synthetic} {params.real} {params.masks} {params.split_size} "
        "--variant {wildcards.variant} --composition {params.composition:q} --out {output} "
        "--study {params.study} --seed {params.seed} --code {params.code} >{log} 2>&1"


rule measure_spectrum:
    input:
        real=split_shards("real"),
        synthetic=split_shards("synthetic"),
        composed=lambda wildcards: shards(
            "composed", wildcards.dataset, wildcards.split, "own"
        ),
    output:
        spectra="<results>/spectra/{dataset}-{split}.csv",
        distances=report(
            "<results>/tables/spectrum_distances-{dataset}-{split}.csv",
            caption="../workflow/report/spectrum_distances.rst",
            category="Figures",
            labels={"figure": "figure_spectrum: distances"},
        ),
    log:
        "<logs>/measure_spectrum/{dataset}-{split}.log",
    benchmark:
        "<benchmarks>/measure_spectrum/{dataset}-{split}.jsonl"
    conda:
        "../envs/compose.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("small"),
    params:
        code=code_of("compose.spectrum_step"),
        groups=lambda wildcards, input: " ".join(
            f"--group {name}={','.join(input[name])}"
            for name in ("real", "synthetic", "composed")
        ),
        amplitude=settings(STUDY.amplitude),
        seed=STUDY.seed,
    message:
        "Measuring amplitude spectra of {wildcards.dataset}/{wildcards.split}"
    shell:
        "python -m handgap.compose.spectrum_step {params.groups} --amplitude {params.amplitude:q} "
        "--seed {params.seed} --out {output.spectra} --distances {output.distances} >{log} 2>&1"
