"""What the engine costs beside llama.cpp alone; run with ``make bench``."""
