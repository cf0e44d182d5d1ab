"""A fleet of workers behind a router, simulated: ``python -m benchmarks.scale.simulation``.

``trace`` draws requests of the shape of a public trace, ``costs`` has what steps were measured to take,
``cache`` and ``worker`` are one Nucleus, ``routers`` and ``tree_routers`` choose a worker for each request,
``fleet`` runs it all, ``scenarios`` says what is run, ``report`` and ``page`` write it down, and ``measured``
has what can be compared with real workers.
docs/notes/fleet-simulation.md has what came of it.
"""
