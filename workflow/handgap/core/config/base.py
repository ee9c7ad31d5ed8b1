"""Base of all sections and the types they share."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from handgap.core.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


AnySection = TypeVar("AnySection", bound=Section)


def problems(error: ValidationError) -> str:
    """All problems of a validation in one line: where, and what is wrong."""
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'study'}: {item['msg']}" for item in error.errors())


def parse_json(section: type[AnySection] | TypeAdapter[AnySection], text: str, origin: str) -> AnySection:
    """Validate a section that came as JSON on a command line.

    Args:
        section: what it must be: a section, or one of several.
        text: JSON.
        origin: the option it came by, for the message.

    Raises:
        ConfigError: no JSON, unknown keys or values out of range; all problems are listed at once.
    """
    try:
        return (section if isinstance(section, TypeAdapter) else TypeAdapter(section)).validate_json(text)
    except ValidationError as error:
        raise ConfigError(origin, problems(error), "its keys are described in config/schema.json") from error
