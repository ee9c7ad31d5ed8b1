# Tables, figures and contact sheets; each experiment is a target by its name.

for experiment in EXPERIMENTS:

    rule:
        name:
            experiment
        localrule: True
        input:
            products(experiment),


rule make_table:
    input:
        metrics=experiment_metrics,
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
        asset_set=STUDY.assets.set,
        study=STUDY.study,
    message:
        "Writing {wildcards.table}"
    shell:
        "python -m handgap.report.step table {input.metrics} --name {wildcards.table} "
        "--experiment {params.experiment:q} --asset-set {params.asset_set} --study {params.study} "
        "--csv {output.csv} --tex {output.tex} --html {output.html} >{log} 2>&1"


rule draw_spectrum:
    input:
        lambda wildcards: f"<results>/spectra/{EXPERIMENTS['figure_spectrum'].test.replace('/', '-')}.csv",
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
