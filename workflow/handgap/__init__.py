"""handgap: the synthetic-to-real gap of 3D hand pose, regenerated from one DAG."""

__version__ = "0.1.0"
