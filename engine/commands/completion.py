"""What a shell completes: the names of the models on this machine."""

from __future__ import annotations


def model_names(incomplete: str) -> list[str]:
    """Return the models whose names begin so."""
    from engine.loading.inventory import list_models

    return [model.name for model in list_models() if model.name.startswith(incomplete)]


def pulled_names(incomplete: str) -> list[str]:
    """Return those of them that came from the hub."""
    from engine.loading.inventory import list_models

    listed = (model.name for model in list_models() if model.source == "hub")
    return [name for name in listed if name.startswith(incomplete)]
