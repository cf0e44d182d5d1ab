"""What drawing a token costs, beside llama.cpp and beside goals; run with ``make bench-sampler``."""
