"""Is the int8 network as good as the float one? Figures, plots, the report and the card."""
