# The open hand models and their textures, made once for all studies.


rule forge_hands:
    output:
        mano=f"{MODELS}/open_mano.npz",
        nimble=f"{MODELS}/open_nimble.npz",
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
