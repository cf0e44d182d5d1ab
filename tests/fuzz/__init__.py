"""Bytes of any kind for whatever reads them; ``python -m tests.fuzz`` runs a fuzzer for long."""
