"""A network's thresholds at a hospital, fitted on its own radiographs, and whether the fit still holds."""
