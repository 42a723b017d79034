"""How good a model is: bits per byte of text beside baselines, and how far back it looks."""
