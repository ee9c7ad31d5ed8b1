"""Training loop and prediction, blind to which network it is."""
