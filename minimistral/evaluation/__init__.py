"""What a model is worth: bits per byte of text, and how far back it looks."""
