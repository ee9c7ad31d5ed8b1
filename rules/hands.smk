# The hand models and their textures, made once for all studies: forged the open ones, converted the licensed ones.


rule forge_hands:
    output:
        mano=f"{MODELS}/open_mano.npz",
        nimble=f"{MODELS}/open_nimble.npz",
        licence=f"{MODELS}/open_hands.LICENCE.txt",
    log:
        "<logs>/forge_hands.log",
    benchmark:
        "<benchmarks>/forge_hands.jsonl"
    conda:
        "../envs/hands.yaml"
    threads: 1
    resources:
        mem_mb=mem("mem"),
        runtime=runtime("cpu"),
    params:
        code=code_of("hands.forge.step"),
    message:
        "Forging OpenMANO and OpenNimble from Anny"
    shell:
        "python -m handgap.hands.forge.step forge "
        "--mano-out {output.mano} --nimble-out {output.nimble} >{log} 2>&1"


rule bake_skins:
    input:
        nimble=f"{MODELS}/open_nimble.npz",
        skins="results/assets/skins/asset.json",
    output:
        textures=f"{MODELS}/open_nimble_textures.npz",
        skins=f"{MODELS}/open_nimble_skins.h5",
    log:
        "<logs>/bake_skins.log",
    benchmark:
        "<benchmarks>/bake_skins.jsonl"
    conda:
        "../envs/hands.yaml"
    threads: 1
    resources:
        mem_mb=mem("mem"),
        runtime=runtime("cpu"),
    params:
        code=code_of("hands.skin.step"),
        tones=subpath(input.skins, parent=True),
    message:
        "Making the texture model and the proxy-real skins"
    shell:
        "python -m handgap.hands.skin.step --model {input.nimble} --tones {params.tones} "
        "--textures-out {output.textures} --skins-out {output.skins} >{log} 2>&1"


rule convert_mano:
    input:
        "results/assets/mano/asset.json",
    output:
        f"{MODELS}/mano.npz",
    log:
        "<logs>/convert_mano.log",
    benchmark:
        "<benchmarks>/convert_mano.jsonl"
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
        "Converting MANO"
    shell:
        "python -m handgap.cli convert mano {params.folder}/MANO_RIGHT.pkl {output} >{log} 2>&1"


rule convert_nimble:
    input:
        "results/assets/nimble/asset.json",
    output:
        nimble=f"{MODELS}/nimble.npz",
        textures=f"{MODELS}/nimble_textures.npz",
    log:
        "<logs>/convert_nimble.log",
    benchmark:
        "<benchmarks>/convert_nimble.jsonl"
    conda:
        "../envs/hands.yaml"
    threads: 1
    resources:
        mem_mb=mem("mem"),
        runtime=runtime("cpu"),
    params:
        code=code_of("hands.convert.nimble"),
        folder=subpath(input[0], parent=True),
    message:
        "Converting NIMBLE and its textures"
    shell:
        "python -m handgap.cli convert nimble {params.folder} {output.nimble} >{log} 2>&1"


rule build_hierarchy:
    input:
        f"{MODELS}/{{hand}}.npz",
    output:
        f"{MODELS}/{{hand}}_hierarchy.npz",
    log:
        "<logs>/build_hierarchy/{hand}.log",
    benchmark:
        "<benchmarks>/build_hierarchy/{hand}.jsonl"
    wildcard_constraints:
        hand="open_mano|mano",
    conda:
        "../envs/hands.yaml"
    threads: 1
    resources:
        mem_mb=mem("small"),
        runtime=runtime("small"),
    params:
        code=code_of("hands.hierarchy_step"),
    message:
        "Thinning the mesh of {wildcards.hand}"
    shell:
        "python -m handgap.hands.hierarchy_step --model {input} --out {output} >{log} 2>&1"
