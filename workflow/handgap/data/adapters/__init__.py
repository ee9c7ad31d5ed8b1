"""One adapter per dataset: its files as published -> canonical samples."""
