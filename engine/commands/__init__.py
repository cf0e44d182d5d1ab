"""The verbs of the command ``nucleus``: each in its own file, and what they share."""
