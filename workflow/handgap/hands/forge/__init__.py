"""The open hand models, built from one source."""
