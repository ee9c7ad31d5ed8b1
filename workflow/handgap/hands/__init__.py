"""Hand models: forging the open ones, differentiable layers, pose priors and model-to-model fitting."""
