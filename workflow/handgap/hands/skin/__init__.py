"""Textures of the render hand."""
