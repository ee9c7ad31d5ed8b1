"""Pieces of real images into synthetic ones, and the amplitude spectra of both."""
