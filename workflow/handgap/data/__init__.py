"""Samples out of the store, and training batches out of samples."""
