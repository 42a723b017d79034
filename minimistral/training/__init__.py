"""Training the tiny model: its text, the loop, and the state from which it resumes."""
