"""The engine beside llama.cpp alone, and before a model that computes nothing; run with ``make bench``."""
