"""Trained networks put to use: hands of any photo, and files for other programs."""
