"""Pose networks: modules and their losses, no training loop."""
