"""Base of all sections and the types they share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


def problems(error: ValidationError) -> str:
    """All problems of a validation in one line: where, and what is wrong."""
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'study'}: {item['msg']}" for item in error.errors())
