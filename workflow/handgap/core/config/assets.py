"""Settings of the assets stage."""

from typing import Literal

from pydantic import Field

from handgap.core.config.base import Section


class Assets(Section):
    """Where models, textures, light and objects come from."""

    set: Literal["open", "paper"] = Field("open", description="open: no sign-up; paper: licensed models and data")
    objects: list[Literal["procedural", "sweethome3d"]] = Field(
        ["procedural"],
        min_length=1,
        description="kinds of held objects, each as frequent; sweethome3d needs Debian's package sweethome3d-furniture",
    )
