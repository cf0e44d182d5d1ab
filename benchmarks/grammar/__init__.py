"""How many JSON schemas the grammar takes, and what a compile and a mask cost."""
