# Networks: trained, resumed where they were, applied to test images.


rule train_network:
    input:
        shards=training_shards,
        keypoints=detected_keypoints,
        initial=initial_models,
        targets=amplitude_targets,
        mano=lambda wildcards: f"{MODELS}/{recipe_hands(wildcards)['annotation']}.npz",
        weights=backbone_asset,
        hierarchy=mesh_hierarchy,
        joints=joint_labels,
    output:
        model="<results>/train/{network}-{recipe}-s{run_seed}/model.pt",
        curves="<results>/train/{network}-{recipe}-s{run_seed}/curves.csv",
    log:
        "<logs>/train_network/{network}-{recipe}-s{run_seed}.log",
    benchmark:
        "<benchmarks>/train_network/{network}-{recipe}-s{run_seed}.jsonl"
    retries: 1
    conda:
        "../envs/train.yaml"
    threads: training_devices
    resources:
        mem_mb=mem("train"),
        runtime=runtime("train"),
    params:
        code=code_of("train.step"),
        network=network_settings,
        launcher=launcher,
        sources=training_sources,
        settings=training_settings,
        amplitude=amplitude_options,
        weights=lambda wildcards, input: (
            f"--weights {Path(input.weights).parent}" if input.weights else ""
        ),
        hierarchy=lambda wildcards, input: repeated("--hierarchy", input.hierarchy),
        initial=lambda wildcards, input: repeated("--initial", input.initial),
        joints=lambda wildcards, input: repeated("--nimble-joints-of", input.joints),
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Training {wildcards.network} on {wildcards.recipe}, seed {wildcards.run_seed}"
    shell:
        "{params.launcher}-m handgap.train.step {params.sources} --network {params.network:q} --annotation-hand {input.mano} "
        "{params.weights} {params.amplitude} {params.hierarchy} {params.joints} {params.initial} "
        "--state results/.state/{params.study}/train/{wildcards.network}-{wildcards.recipe}-s{wildcards.run_seed} "
        "--out {output.model} --curves {output.curves} --run-seed {wildcards.run_seed} "
        "--study {params.study} --seed {params.seed} --code {params.code} --settings {params.settings:q} >{log} 2>&1"


rule predict:
    input:
        model="<results>/train/{network}-{recipe}-s{run_seed}/model.pt",
        mano=lambda wildcards: f"{MODELS}/{recipe_hands(wildcards)['annotation']}.npz",
        shards=split_shards("real"),
        hierarchy=mesh_hierarchy,
    output:
        "<results>/predictions/{network}-{recipe}-s{run_seed}/{dataset}-{split}.h5",
    log:
        "<logs>/predict/{network}-{recipe}-s{run_seed}/{dataset}-{split}.log",
    benchmark:
        "<benchmarks>/predict/{network}-{recipe}-s{run_seed}/{dataset}-{split}.jsonl"
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=mem("gpu"),
        runtime=runtime("cpu"),
    params:
        code=code_of("train.predict_step"),
        hierarchy=lambda wildcards, input: repeated("--hierarchy", input.hierarchy),
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "Predicting {wildcards.dataset}/{wildcards.split} with {wildcards.network}-{wildcards.recipe}"
    shell:
        "python -m handgap.train.predict_step {input.shards} --model {input.model} --annotation-hand {input.mano} {params.hierarchy} "
        "--out {output} --study {params.study} --seed {params.seed} --code {params.code} >{log} 2>&1"


rule predict_mean_hand:
    input:
        train=lambda wildcards: shards("real", wildcards.dataset, "train"),
        shards=split_shards("real"),
    output:
        "<results>/predictions/mean_hand/{dataset}-{split}.h5",
    log:
        "<logs>/predict_mean_hand/{dataset}-{split}.log",
    benchmark:
        "<benchmarks>/predict_mean_hand/{dataset}-{split}.jsonl"
    conda:
        "../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=mem("cpu"),
        runtime=runtime("small"),
    params:
        code=code_of("train.predict_step"),
        train=lambda wildcards, input: repeated("--mean-of", input.train),
        study=STUDY.study,
        seed=STUDY.seed,
    message:
        "The mean training hand as the prediction for {wildcards.dataset}/{wildcards.split}"
    shell:
        "python -m handgap.train.predict_step {input.shards} {params.train} "
        "--out {output} --study {params.study} --seed {params.seed} --code {params.code} >{log} 2>&1"
