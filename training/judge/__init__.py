"""How good a trained network is: outputs, figures, plots and tables."""
