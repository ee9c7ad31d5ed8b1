"""Cutting the arm and the held object out of real images with Segment Anything."""
