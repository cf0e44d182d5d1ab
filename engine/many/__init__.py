"""Work on many prompts or texts at once: completions, and how probable texts are."""
