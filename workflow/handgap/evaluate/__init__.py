"""Metrics, protocols, statistics: predictions in, tidy numbers out."""
