"""Settings of the fit stage."""

from pydantic import Field

from handgap.core.config.base import Section


class Fit(Section):
    """Fitting the render hand to annotation-hand meshes."""

    batch: int = Field(16, ge=1, description="meshes fitted at once; padded to a multiple of 8")
    coarse_iterations: int = Field(4, ge=0, description="Levenberg-Marquardt steps on every fourth vertex")
    iterations: int = Field(3, ge=1, description="Levenberg-Marquardt steps on all vertices after those")
    pose_weight: float = Field(1e-3, ge=0, description="L2 on normalised pose coefficients, mm^2 per unit^2")
    shape_weight: float = Field(1e-2, ge=0, description="L2 on normalised shape coefficients, mm^2 per unit^2")
    max_residual_mm: float = Field(5.0, gt=0, description="mean vertex residual above which a sample is not valid")
