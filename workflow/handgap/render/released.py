"""HandSynthesis' own renderer in this package's terms: its configuration file, cameras, worlds, lamp and wall.

Source: `render_syn_data.py`, `config_syn_data.json` and `utils/default_config.py` of the release (Zhao et al., CVPR
2025). Where the release does not do what its keys say, the keys win; each such place says so.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field, ValidationError
from scipy.spatial.transform import Rotation

from handgap.core.config.base import Section
from handgap.core.conventions import HANDSYNTHESIS_FOCAL, MaskLabel
from handgap.core.errors import ConfigError, MissingAssetError
from handgap.core.images import decode_rgb
from handgap.render.spec import Lamp, MappedMaterial, MeshPart, Panorama, PlainWorld, World

CAMERAS = (  # location in metres and Euler angles XYZ in degrees of each view, in Blender's world (z up)
    ((0.0, 0.0, 0.5), (0.0, 0.0, 0.0)),
    ((0.0, 0.0, -0.5), (0.0, 180.0, 0.0)),
    ((0.0, -0.5, 0.0), (90.0, 180.0, 0.0)),
    ((0.0, 0.5, 0.0), (-90.0, 180.0, 0.0)),
)
NIMBLE_TO_WORLD = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # -90 degrees about x
FLIP = np.diag([1.0, -1.0, -1.0])  # between Blender's axes of cameras and lamps and OpenCV's
NORMAL_STRENGTH = 1.5
UNLIT = PlainWorld((0.0509, 0.0509, 0.0509))  # the grey of a new Blender world
AUTHORS_HDRIS = Path("/mnt/sdc/zhuoran/hdris_4k")  # of the shipped file: there on one machine only
PATHS = ("data_path", "mesh_path", "output_path", "tex_bg_path", "hdri_bg_path")  # keys
WALL_MAPS = {"colour": "col.jpg", "displacement": "disp.jpg", "normal": "nrm.jpg", "roughness": "rgh.jpg"}
WALL_SIZE, WALL_DISTANCE, WALL_RELIEF = 20.0, 8.0, 0.2  # metres


Vector = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0.0)]
Radiance = Annotated[float, Field(ge=0.0)]


class ReleasedConfig(Section):
    """`config_syn_data.json`; keys that are left out have the values of the shipped file."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, validate_default=False)

    data_path: Path = Field(Path("samples"), description="folder of one sub-folder a hand")
    mesh_path: Path = Field(Path("samples"), description="a folder; not used by the release either")
    output_path: Path = Field(Path("images"), description="folder of what is written")
    add_light: bool = Field(False, description="true or false: one lamp besides the surroundings")
    light_location: Vector = Field((6.49636, -3.51545, 2.63636), description="three numbers, metres, Blender's world")
    light_rot: Vector = Field((-12.2869, 71.0853, -40.6498), description="three numbers, degrees, Euler XYZ")
    light_scale: tuple[Positive, Positive, Positive] = Field((1.75815,) * 3, description="three numbers > 0")
    light_type: Literal["POINT", "SUN", "SPOT", "AREA"] = Field("POINT", description="POINT, SUN, SPOT or AREA")
    light_strength: Radiance = Field(1000.0, description="a number >= 0, watts (SUN: per square metre)")
    add_hand_tex: bool = Field(True, description="true or false: the sample's texture maps, else plain grey")
    add_rgb_bg: bool = Field(False, description="true or false: a world of one colour")
    bg_color: tuple[Radiance, Radiance, Radiance] = Field((1.0, 1.0, 1.0), description="three numbers >= 0, linear RGB")
    bg_strength: Radiance = Field(2.0, description="a number >= 0")
    add_tex_bg: bool = Field(False, description="true or false: a textured wall behind the hand")
    tex_bg_path: Path = Field(Path(), description="folder of col.jpg, disp.jpg, nrm.jpg and rgh.jpg")
    add_hdri_bg: bool = Field(True, description="true or false: an HDRI as world")
    hdri_ratio: float = Field(1.0, gt=0.0, le=1.0, description="a number > 0 and <= 1: share of the sorted HDRIs")
    hdri_bg_path: Path = Field(AUTHORS_HDRIS, description="folder of .exr or .hdr files")
    res_h: int = Field(224, ge=16, le=8192, description="a whole number of 16 to 8192: image height, px")
    res_w: int = Field(224, ge=16, le=8192, description="a whole number of 16 to 8192: image width, px")
    multi_view: bool = Field(False, description="true or false: a random one of four cameras for each hand")
    multi_view_cam_list: str = Field("", description="a text; not used by the release either")
    if_depth: bool = Field(True, description="true or false: write depth")
    if_seg: bool = Field(True, description="true or false: write masks")


def read_released_config(path: Path) -> ReleasedConfig:
    """HandSynthesis' configuration; its relative paths start at the file's own folder.

    Raises:
        MissingAssetError: there is no such file.
        ConfigError: it is no JSON object, or has unknown keys or bad values; all of them are named.
    """
    if not path.is_file():
        raise MissingAssetError(path, "no such file", "name HandSynthesis' config_syn_data.json or a copy of it")
    try:
        config = ReleasedConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _explained(path, error) from error
    return config.model_copy(update={key: path.parent / getattr(config, key) for key in PATHS})


def _explained(path: Path, error: ValidationError) -> ConfigError:
    fields, keys, problems, cures = ReleasedConfig.model_fields, [], [], []
    for item in error.errors(include_url=False):
        if not item["loc"]:
            return ConfigError(path, f"no JSON object ({item['msg']})", 'correct its syntax: { "key": value, ... }')
        key = str(item["loc"][0])
        if key in keys:
            continue
        keys.append(key)
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, fields, 1)
            problems.append(f"{key} is no key of this file")
            cures.append(f"write {near[0]} for {key}" if near else f"remove {key}; keys are {', '.join(fields)}")
        else:
            problems.append(f"{key}: {item['msg']}, found {item['input']!r}")
            cures.append(f"give {key} {fields[key].description}")
    return ConfigError(f"{path}: {', '.join(keys)}", "; ".join(problems), "; ".join(cures))


def intrinsics(config: ReleasedConfig) -> np.ndarray:
    """K (3, 3), px, pixel centres at integer + 0.5: the axis in the middle of the image, no distortion.

    The release swaps height and width when it sets the image's size; that does not show in its square images.
    """
    focal = HANDSYNTHESIS_FOCAL
    return np.array([[focal, 0.0, config.res_w / 2], [0.0, focal, config.res_h / 2], [0.0, 0.0, 1.0]])


def extrinsics(view: int) -> np.ndarray:
    """(4, 4) from Blender's world to the OpenCV camera of a view, metres: what `cam_RT_syn_data_*.json` holds."""
    location, angles = CAMERAS[view]
    matrix = np.eye(4)
    matrix[:3, :3] = FLIP @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix().T
    matrix[:3, 3] = -matrix[:3, :3] @ location
    return matrix


def to_camera(points: np.ndarray, view: int) -> np.ndarray:
    """Points (..., 3) in metres from the frame of NIMBLE's files to a view's OpenCV camera.

    View 0 makes (x, y, z) to (x, -z, y + 0.5).
    """
    matrix = extrinsics(view)
    return points @ (matrix[:3, :3] @ NIMBLE_TO_WORLD).T + matrix[:3, 3]


def draw_world(config: ReleasedConfig, hdris: Sequence[Path], view: int, generator: np.random.Generator) -> World:
    """Surroundings of one picture: an HDRI of the list's first share, tilted about the world's x axis; or a colour.

    With both kinds of background on, the HDRI is seen at the colour's strength, as in the release. The release takes
    its angle of -180..180 for radians: any tilt.
    """
    if not config.add_hdri_bg:
        return PlainWorld(config.bg_color, config.bg_strength) if config.add_rgb_bg else UNLIT
    share = hdris[: max(1, int(len(hdris) * config.hdri_ratio))]
    hdri = share[generator.integers(len(share))]
    tilt = Rotation.from_euler("x", generator.uniform(-180.0, 180.0)).as_matrix()
    orientation = tilt @ extrinsics(view)[:3, :3].T
    return Panorama(hdri, orientation, config.bg_strength if config.add_rgb_bg else 1.0)


def lamps(config: ReleasedConfig, view: int) -> tuple[Lamp, ...]:
    """The lamp, if there is one; Blender ignores the scale that the release gives it, here it scales an area."""
    if not config.add_light:
        return ()
    matrix = extrinsics(view)
    axes = Rotation.from_euler("xyz", config.light_rot, degrees=True).as_matrix()
    position = matrix[:3, :3] @ config.light_location + matrix[:3, 3]
    rotation = matrix[:3, :3] @ axes @ FLIP
    return (Lamp(config.light_type, config.light_strength, position, rotation, config.light_scale),)


def read_wall(folder: Path) -> MeshPart:
    """The textured wall: a square facing the camera behind the hand, the same for all views.

    The release puts it beside or behind the camera, where no view shows it.

    Raises:
        MissingAssetError: a map is not there.
        CorruptFileError: a map is no image.
    """
    maps = {}
    for key, name in WALL_MAPS.items():
        if not (folder / name).is_file():
            cure = f"put {', '.join(WALL_MAPS.values())} there or set add_tex_bg to false"
            raise MissingAssetError(folder / name, "no such map of the wall (key tex_bg_path)", cure)
        maps[key] = decode_rgb(np.fromfile(folder / name, np.uint8), str(folder / name))
    uv = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    corners = WALL_SIZE * (uv - 0.5) * [1.0, -1.0]
    vertices = np.concatenate([corners, np.full((4, 1), abs(CAMERAS[0][0][2]) + WALL_DISTANCE)], 1)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    material = MappedMaterial(maps, NORMAL_STRENGTH, WALL_RELIEF)
    return MeshPart("wall", vertices, faces, MaskLabel.BACKGROUND, material, uv, faces, smooth=False)
