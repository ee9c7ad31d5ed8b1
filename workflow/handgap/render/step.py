"""The render stage: one process, one Blender, one shard."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from handgap.core.config.assets import Assets
from handgap.core.config.base import parse_json
from handgap.core.config.dataset import Dataset
from handgap.core.config.render import Render
from handgap.core.errors import ConfigError, run_step
from handgap.core.provenance import file_sha256, settings_hash
from handgap.core.seeds import round_alike
from handgap.core.store import Store, write_store
from handgap.hands.skin.model import TextureModel, TextureSet
from handgap.hands.skin.skins import SkinLibrary
from handgap.render.catalogue import Catalogue
from handgap.render.light import find_hdris, map_name
from handgap.render.objects import random_object
from handgap.render.proxy import ProxyScenes
from handgap.render.proxyreal import proxy_row
from handgap.render.shard import complete, kept
from handgap.render.synthetic import SyntheticShard, WithoutRoughness
from handgap.render.worker import Renderer

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)

Threads = Annotated[int, typer.Option(min=1, help="CPU threads")]


@app.command()
def synthetic(
    fit: Annotated[Path, typer.Argument(help="shard of the fit stage")],
    render_hand: Annotated[Path, typer.Option(help="render hand (.npz)")],
    textures: Annotated[Path, typer.Option(help="its texture model (.npz)")],
    hdri_dir: Annotated[list[Path], typer.Option(help="folder of .exr environment maps; repeatable")],
    dataset: Annotated[str, typer.Option(help="dataset the fit belongs to")],
    split: Annotated[str, typer.Option(help="its split")],
    state: Annotated[Path, typer.Option(help="folder of finished rows, taken up after a kill")],
    out: Annotated[Path, typer.Option(help="shard to write")],
    study: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    code: Annotated[str, typer.Option()],
    settings: Annotated[str, typer.Option(help="the render section, JSON")],
    threads: Threads = 1,
) -> None:
    """Render the fitted hands under random textures and light."""
    round_alike()
    render = parse_json(Render, settings, "--settings")
    torch.set_num_threads(threads)
    config = settings_hash(render.model_dump(mode="json"))
    worn = TextureSet(TextureModel.load(textures), seed)
    drawn = worn if render.subsurface else WithoutRoughness(worn)
    with Store(fit) as store, Renderer(drawn, samples=render.samples, threads=threads) as renderer:
        hdris = find_hdris(hdri_dir)
        shard = SyntheticShard(store, render_hand, worn, hdris, render, seed, f"{dataset}/{split}")
        models = [file_sha256(path)[:12] for path in (render_hand, textures)]
        depends = [code, config, seed, dataset, split, store.digest, models, [map_name(path) for path in hdris]]
        with kept(state, out):
            rows = state / settings_hash(depends)  # those that other settings left lie beside it
            columns = complete(shard.ids, lambda k: shard.row(k, renderer), rows, f"render {out.stem}")
            write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=[store.digest])


@app.command()
def proxy(
    dataset: Annotated[str, typer.Option(help="name of the dataset")],
    split: Annotated[str, typer.Option(help="its split")],
    first: Annotated[int, typer.Option(min=0, help="id of the shard's first sample")],
    count: Annotated[int, typer.Option(min=1, help="samples in the shard")],
    dataset_settings: Annotated[str, typer.Option(help="the dataset's section, JSON")],
    render_hand: Annotated[Path, typer.Option(help="render hand (.npz)")],
    annotation_hand: Annotated[Path, typer.Option(help="annotation hand (.npz)")],
    skins: Annotated[Path, typer.Option(help="skins of the proxy-real people (.h5)")],
    hdri_dir: Annotated[list[Path], typer.Option(help="folder of .exr environment maps; repeatable")],
    state: Annotated[Path, typer.Option(help="folder of finished rows, taken up after a kill")],
    out: Annotated[Path, typer.Option(help="shard to write")],
    study: Annotated[str, typer.Option()],
    seed: Annotated[int, typer.Option()],
    code: Annotated[str, typer.Option()],
    settings: Annotated[str, typer.Option(help="the render section, JSON")],
    objects: Annotated[str, typer.Option(help="kinds of things to hold (assets.objects), JSON")] = '["procedural"]',
    catalogue: Annotated[Path | None, typer.Option(help="folder of .sh3f files, for objects of sweethome3d")] = None,
    threads: Threads = 1,
) -> None:
    """Render proxy-real images out of nothing but a seed."""
    round_alike()
    render = parse_json(Render, settings, "--settings")
    chosen = parse_json(Dataset, dataset_settings, "--dataset-settings")
    torch.set_num_threads(threads)
    kinds = parse_json(Assets, f'{{"objects": {objects}}}', "--objects").objects
    # how many samples a split has does not change them
    config = settings_hash(
        [render.model_dump(mode="json"), chosen.model_dump(mode="json") | {"splits": list(chosen.splits)}, kinds]
    )
    library, hdris, extra = SkinLibrary(skins), find_hdris(hdri_dir), {}
    parents = [file_sha256(path)[:12] for path in (render_hand, annotation_hand, skins)]
    sources = {"procedural": random_object}
    if "sweethome3d" in kinds:
        if catalogue is None:
            raise ConfigError("--catalogue", "not given", "name the folder of the asset objects_sweethome3d")
        things = Catalogue(catalogue)
        sources["sweethome3d"] = things.draw
        parents.append(things.digest)
        extra["object_creators"] = ", ".join(things.creators)
    with Renderer(library, samples=render.samples, threads=threads) as renderer:
        scenes = ProxyScenes(
            dataset,
            split,
            chosen,
            render_hand=render_hand,
            annotation_hand=annotation_hand,
            skins=range(len(library)),
            hdris=hdris,
            objects=[sources[kind] for kind in kinds],
            size=render.size,
            seed=seed,
            subsurface=render.subsurface,
        )
        ids = range(first, first + count)
        depends = [code, config, seed, dataset, split, parents, [map_name(path) for path in hdris]]
        with kept(state, out):
            columns = complete(
                ids,
                lambda k: proxy_row(ids[k], scenes, renderer, chosen, render.size, seed),
                state / settings_hash(depends),
                f"render {out.stem}",
            )
            write_store(out, columns, study=study, seed=seed, code=code, config=config, parents=parents, extra=extra)


if __name__ == "__main__":
    run_step(lambda: app(standalone_mode=True))
