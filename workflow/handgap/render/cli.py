"""`handgap render`: pictures of hands that come as files."""

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from handgap.core.errors import ConfigError, HandgapError, MissingAssetError

if TYPE_CHECKING:
    from handgap.render.released import ReleasedConfig

ASSETS = Path(__file__).resolve().parents[3] / "results/assets"

app = typer.Typer(help="Render hands that come as files.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _group() -> None:
    """Keep `folder` a verb of its own while it is the only one."""


@app.command()
def folder(
    samples_dir: Annotated[
        Path | None,
        typer.Argument(help="folder of one sub-folder a hand; data_path of the configuration if not given"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Argument(help="store to write (.h5); renders.h5 in the configuration's output_path if not given"),
    ] = None,
    released_config: Annotated[
        Path | None, typer.Option(help="HandSynthesis' config_syn_data.json: render with its light and backgrounds")
    ] = None,
    skin: Annotated[
        Literal["photoreal", "released"] | None,
        typer.Option(help="subsurface scattering, or the release's plain material (default with its configuration)"),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Cycles samples per pixel, denoised")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="of light and views")] = 0,
    hdri_dir: Annotated[
        list[Path] | None, typer.Option(help="folder of .exr or .hdr maps; repeatable; the fetched ones if not given")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all if not given")] = None,
    state: Annotated[
        Path | None, typer.Option(help="folder of finished rows, taken up after a kill; OUT's folder if not given")
    ] = None,
) -> None:
    """Render a folder of hands in HandSynthesis' layout with its camera (355 px focal length, 0.5 m away)."""
    if importlib.util.find_spec("bpy") is None:
        raise MissingAssetError("bpy", "Blender's Python module is not installed", "use the environment envs/render")
    from handgap.core.provenance import code_of, settings_hash
    from handgap.core.store import write_store
    from handgap.render.folder import LAYOUT, FolderShard
    from handgap.render.released import read_released_config
    from handgap.render.shard import complete, kept
    from handgap.render.worker import Renderer

    config = read_released_config(released_config) if released_config else None
    if config:
        samples_dir, out = samples_dir or config.data_path, out or config.output_path / "renders.h5"
    elif samples_dir is None or out is None:
        raise ConfigError("handgap render folder", "lacks SAMPLES_DIR or OUT", "give both, or --released-config")
    if out.is_dir() or any(parent.is_file() for parent in out.parents):
        raise ConfigError(f"OUT {out}", "a folder, or below a file", "name a new file (.h5) in a folder")
    if state and any(path.is_file() for path in (state, *state.parents)):
        raise ConfigError(f"--state {state}", "a file, or below one", "name a folder")
    skin = skin or ("released" if config else "photoreal")
    hdris = [] if config and not config.add_hdri_bg else _hdris(hdri_dir, released_config, config)
    shard = FolderShard(samples_dir, hdris, seed, config=config, skin=skin)
    code, settings = code_of("render.folder"), settings_hash([*shard.settings, samples])
    rows = (state or out.parent) / f".{out.name}.{settings_hash([code, settings, seed, shard.listing])}.rows"
    with kept(rows, out), Renderer(shard, samples=samples, threads=threads or len(os.sched_getaffinity(0))) as renderer:
        columns = complete(shard.ids, lambda k: shard.row(k, renderer), rows, f"render {out.stem}")
        parents, usable = [settings_hash(columns.pop("source"))], any(columns["valid"])
        if usable:
            write_store(out, columns, study="folder", seed=seed, code=code, config=settings, parents=parents)
    if not usable:
        reasons = "; ".join(sorted(set(columns["flag"]))[:3])
        raise HandgapError(samples_dir, f"no hand in it can be rendered ({reasons})", LAYOUT)


def _hdris(chosen: list[Path] | None, file: Path | None, config: "ReleasedConfig | None") -> list[Path]:
    """Environment maps of the folders chosen, else of the configuration's, else the fetched ones."""
    from handgap.render.light import find_hdris
    from handgap.render.released import AUTHORS_HDRIS

    if chosen:
        return find_hdris(chosen)
    if config and config.hdri_bg_path.is_dir():
        return find_hdris([config.hdri_bg_path])
    if config and config.hdri_bg_path != AUTHORS_HDRIS:
        cure = "give a folder of .exr or .hdr files, or leave the key out to use the fetched ones"
        raise ConfigError(f"{file}: hdri_bg_path", f"no folder {config.hdri_bg_path}", cure)
    fetched = [path for path in sorted(ASSETS.glob("hdri_*")) if path.is_dir()]
    if not fetched:
        raise MissingAssetError(ASSETS, "no environment maps fetched", "run `snakemake assets`, or give --hdri-dir")
    return find_hdris(fetched)
