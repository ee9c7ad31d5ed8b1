"""Datasets that come as files -> shards of the real side, with labels completed by the annotation hand."""
