"""Benchmarks: a folder for each of ``make bench``, its like for sampler, serving and scale, and ``soak``.

They share ``servers`` (starts every server), ``client`` (one for each door), ``remote`` (an object in a
process of its own), ``machine`` (what else the machine did), ``report`` (tables, JSON, plots), ``anatomy``
(where a step's time goes), ``prompts``, and ``llama`` (llama.cpp without the engine). ``publish`` writes
docs/performance-results.md.
"""
