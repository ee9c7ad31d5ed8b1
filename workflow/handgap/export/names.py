"""The formats' names, for command lines and rules: nothing else is imported."""

from typing import Literal

FormatName = Literal["freihand", "coco", "handsynthesis", "webdataset", "parquet"]
