# Tables, figures and contact sheets; each experiment is a target by its name.
# A target asks for the metrics too: Snakemake would not miss one that a finished table was made from.

for experiment in EXPERIMENTS:

    rule:
        name:
            experiment
        input:
            products(experiment),
            experiment_metrics(experiment),
            reconstructions(experiment),
        localrule: True


rule make_table:
    input:
        metrics=lambda wildcards: experiment_metrics(wildcards.table),
        samples=lambda wildcards: experiment_samples(wildcards.table),
    output:
        csv="<results>/tables/{table}.csv",
        tex="<results>/tables/{table}.tex",
        html=report(
            "<results>/tables/{table}.html",
            caption="../workflow/report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "<logs>/make_table/{table}.log",
    benchmark:
        "<benchmarks>/make_table/{table}.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("report.step"),
        experiment=lambda wildcards: settings(EXPERIMENTS[wildcards.table]),
        samples=lambda wildcards, input: repeated("--samples", input.samples),
        bootstrap=STUDY.evaluate.bootstrap,
        seed=STUDY.seed,
        asset_set=STUDY.assets.set,
        study=STUDY.study,
    message:
        "Writing {wildcards.table}"
    shell:
        "python -m handgap.report.step table {input.metrics} {params.samples} --name {wildcards.table} "
        "--experiment {params.experiment:q} --asset-set {params.asset_set} --study {params.study} "
        "--bootstrap {params.bootstrap} --seed {params.seed} "
        "--csv {output.csv} --tex {output.tex} --html {output.html} >{log} 2>&1"


rule make_network_table:
    input:
        mano=f"{MODELS}/open_mano.npz",
        hierarchy=f"{MODELS}/open_mano_hierarchy.npz",
    output:
        csv="<results>/tables/{table}.csv",
        tex="<results>/tables/{table}.tex",
        html=report(
            "<results>/tables/{table}.html",
            caption="../workflow/report/table_networks.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "<logs>/make_network_table/{table}.log",
    benchmark:
        "<benchmarks>/make_network_table/{table}.jsonl"
    wildcard_constraints:
        table="|".join(network_tables()),
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("small"),
    params:
        code=code_of("report.networks_step"),
        experiment=lambda wildcards: settings(EXPERIMENTS[wildcards.table]),
        networks=study_networks(),
        study=STUDY.study,
    message:
        "Counting the networks of {wildcards.table}"
    shell:
        "python -m handgap.report.networks_step --name {wildcards.table} --experiment {params.experiment:q} "
        "--study-networks {params.networks:q} --annotation-hand {input.mano} --hierarchy {input.hierarchy} "
        "--study {params.study} --csv {output.csv} --tex {output.tex} --html {output.html} >{log} 2>&1"


ruleorder: make_network_table > make_table


rule draw_spectrum:
    input:
        lambda wildcards: f"<results>/spectra/{EXPERIMENTS['figure_spectrum'].test_stem}.csv",
    output:
        png=report(
            "<results>/figures/figure_spectrum.png",
            caption="../workflow/report/figure_spectrum.rst",
            category="Figures",
            labels={"figure": "figure_spectrum"},
        ),
        svg="<results>/figures/figure_spectrum.svg",
    log:
        "<logs>/draw_spectrum.log",
    benchmark:
        "<benchmarks>/draw_spectrum.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("report.step"),
        experiment=lambda wildcards: settings(EXPERIMENTS["figure_spectrum"]),
    message:
        "Drawing figure_spectrum"
    shell:
        "python -m handgap.report.step spectrum {input} --experiment {params.experiment:q} "
        "--png {output.png} --svg {output.svg} >{log} 2>&1"


rule draw_curves:
    input:
        lambda wildcards: [f"<results>/train/{run}/curves.csv" for run in study_runs()],
    output:
        png=report(
            "<results>/figures/curves.png",
            caption="../workflow/report/curves.rst",
            category="Figures",
            labels={"figure": "training curves"},
        ),
        svg="<results>/figures/curves.svg",
    log:
        "<logs>/draw_curves.log",
    benchmark:
        "<benchmarks>/draw_curves.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("report.step"),
    message:
        "Drawing training curves"
    shell:
        "python -m handgap.report.step curves {input} --png {output.png} --svg {output.svg} >{log} 2>&1"


rule draw_hands:
    input:
        nimble=f"{MODELS}/open_nimble.npz",
        textures=f"{MODELS}/open_nimble_textures.npz",
    output:
        report(
            "<results>/gallery/hands.jpg",
            caption="../workflow/report/gallery_hands.rst",
            category="Gallery",
            labels={"stage": "1 hands", "what": "pose x shape x texture"},
        ),
    log:
        "<logs>/draw_hands.log",
    benchmark:
        "<benchmarks>/draw_hands.jsonl"
    conda:
        "../envs/render.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("cpu"),
    params:
        code=code_of("report.hands_step"),
        seed=STUDY.seed,
    message:
        "Contact sheet of the hand model, rendered"
    shell:
        "python -m handgap.report.hands_step --render-hand {input.nimble} --textures {input.textures} "
        "--seed {params.seed} --title OpenNimble --threads {threads} --out {output} >{log} 2>&1"


rule draw_fit:
    input:
        fit=lambda wildcards: shards("fit", wildcards.dataset, "train"),
        real=lambda wildcards: shards("real", wildcards.dataset, "train"),
        nimble=model_of("render"),
        mano=model_of("annotation"),
    output:
        sheet=report(
            "<results>/gallery/fit-{dataset}.jpg",
            caption="../workflow/report/gallery_fit.rst",
            category="Gallery",
            labels={"stage": "3 fit", "what": "{dataset}"},
        ),
        histogram=report(
            "<results>/figures/residuals-{dataset}.png",
            caption="../workflow/report/residuals.rst",
            category="Figures",
            labels={"figure": "fit residuals, {dataset}"},
        ),
    log:
        "<logs>/draw_fit/{dataset}.log",
    benchmark:
        "<benchmarks>/draw_fit/{dataset}.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("small"),
    params:
        code=code_of("report.step"),
        images=lambda wildcards, input: repeated("--images", input.real),
    message:
        "Contact sheet of the fits to {wildcards.dataset}"
    shell:
        "python -m handgap.report.step fit {input.fit} {params.images} --render-hand {input.nimble} "
        "--annotation-hand {input.mano} --title 'fit: {wildcards.dataset}' --out {output.sheet} "
        "--histogram {output.histogram} >{log} 2>&1"


rule draw_shard:
    input:
        "<results>/{side}/{dataset}/{split}/{shard}.h5",
    output:
        report(
            "<results>/gallery/shards/{side}-{dataset}-{split}-{shard}.jpg",
            caption="../workflow/report/gallery_shard.rst",
            category="Gallery",
            labels=lambda wildcards: {
                "stage": SIDES[wildcards.side],
                "what": f"{wildcards.dataset}/{wildcards.split} {wildcards.shard}",
            },
        ),
    log:
        "<logs>/draw_shard/{side}-{dataset}-{split}-{shard}.log",
    benchmark:
        "<benchmarks>/draw_shard/{side}-{dataset}-{split}-{shard}.jsonl"
    wildcard_constraints:
        side="|".join(SIDES),
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("report.step"),
    message:
        "Contact sheet of {wildcards.side}, {wildcards.dataset}/{wildcards.split} {wildcards.shard}"
    shell:
        "python -m handgap.report.step shard {input} "
        "--title '{wildcards.side}: {wildcards.dataset}/{wildcards.split} {wildcards.shard}' --out {output} >{log} 2>&1"


rule draw_stage:
    input:
        images=lambda wildcards: sheet_images(wildcards),
        labels=lambda wildcards: sheet_labels(wildcards),
    output:
        report(
            "<results>/gallery/{stage}-{dataset}.jpg",
            caption="../workflow/report/gallery.rst",
            category="Gallery",
            labels=lambda wildcards: {
                "stage": SHEETS[wildcards.stage]["order"],
                "what": wildcards.dataset,
            },
        ),
    log:
        "<logs>/draw_stage/{stage}-{dataset}.log",
    benchmark:
        "<benchmarks>/draw_stage/{stage}-{dataset}.jsonl"
    wildcard_constraints:
        stage="|".join(SHEETS),
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("report.step"),
        overlay=lambda wildcards: SHEETS[wildcards.stage]["overlay"],
        labels=lambda wildcards, input: repeated("--labels", input.labels),
    message:
        "Contact sheet of {wildcards.stage}, {wildcards.dataset}"
    shell:
        "python -m handgap.report.step sheet {input.images} {params.labels} --overlay {params.overlay} "
        "--title '{wildcards.stage}: {wildcards.dataset}' --out {output} >{log} 2>&1"


rule draw_predictions:
    input:
        pred="<results>/predictions/{run}/{dataset}-{split}.h5",
        truth=split_shards("real"),
        mano=model_of("annotation"),
    output:
        report(
            "<results>/gallery/predictions-{run}-{dataset}-{split}.jpg",
            caption="../workflow/report/gallery_predictions.rst",
            category="Gallery",
            labels={
                "stage": "7 predictions",
                "what": "{run}",
            },
        ),
    log:
        "<logs>/draw_predictions/{run}-{dataset}-{split}.log",
    benchmark:
        "<benchmarks>/draw_predictions/{run}-{dataset}-{split}.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("report.step"),
        truth=lambda wildcards, input: repeated("--truth", input.truth),
    message:
        "Contact sheet of the predictions of {wildcards.run}"
    shell:
        "python -m handgap.report.step predictions {input.pred} {params.truth} --annotation-hand {input.mano} "
        "--title '{wildcards.run}: {wildcards.dataset}/{wildcards.split}' "
        "--out {output} >{log} 2>&1"


rule draw_reconstructions:
    input:
        model="<results>/train/{network}-{recipe}-s{run_seed}/model.pt",
        truth=split_shards("real"),
        mano=lambda wildcards: f"{MODELS}/{recipe_hands(wildcards)['annotation']}.npz",
    output:
        report(
            "<results>/gallery/reconstructions-{network}-{recipe}-s{run_seed}-{dataset}-{split}.jpg",
            caption="../workflow/report/gallery_reconstructions.rst",
            category="Gallery",
            labels={
                "stage": "8 reconstructions",
                "what": "{network}-{recipe}-s{run_seed}",
            },
        ),
    log:
        "<logs>/draw_reconstructions/{network}-{recipe}-s{run_seed}-{dataset}-{split}.log",
    benchmark:
        "<benchmarks>/draw_reconstructions/{network}-{recipe}-s{run_seed}-{dataset}-{split}.jsonl"
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("small"),
    params:
        code=code_of("report.reconstructions_step"),
        truth=lambda wildcards, input: repeated("--truth", input.truth),
    message:
        "Contact sheet of the hands that {wildcards.network}-{wildcards.recipe} reconstructs"
    shell:
        "python -m handgap.report.reconstructions_step {input.model} {params.truth} --annotation-hand {input.mano} "
        "--title '{wildcards.network}, {wildcards.recipe}: {wildcards.dataset}/{wildcards.split}' "
        "--out {output} >{log} 2>&1"
