"""Fitting one hand model to meshes of the other."""
