"""Blender worker, scenes of both domains, and labels out of the same geometry."""
