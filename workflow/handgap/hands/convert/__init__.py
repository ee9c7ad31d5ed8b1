"""Licensed hand models, read without trusting their files and written in the package's own format."""
