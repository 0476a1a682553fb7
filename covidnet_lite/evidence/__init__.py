"""Evidence maps: where a network saw an opacity, how much of the lungs it takes, and the picture of it."""
