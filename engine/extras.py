"""What is installed only with an extra, and what is said where it is missing.

The package itself depends on nothing: whoever calls a server, draws from logits or loads models installs what
that takes, as ``nucleus-engine[client]``, ``[sampler]``, ``[llm]`` or ``[serve]``.
"""

from __future__ import annotations

from importlib.util import find_spec

from engine.errors import MissingPackageError


def explained(error: ModuleNotFoundError, what: str, extra: str) -> ModuleNotFoundError:
    """Return the error that says what to install; of a module of this package, the error as it is.

    Args:
        error: What an import has raised.
        what: What needs the module.
        extra: What brings it.
    """
    name = error.name or "engine"
    package = name.partition(".")[0]
    if package == "engine":
        return error
    package = name if package == "google" else package  # many packages share that name
    missing = MissingPackageError(
        f"{what} needs {package}, which is not installed.",
        hint=f"Install it with: pip install 'nucleus-engine[{extra}]'",
    )
    missing.name = name
    return missing


def check(what: str, extra: str, *modules: str) -> None:
    """Return if modules can be imported, without importing them.

    Raises:
        MissingPackageError: one is not installed; it says what to install.
    """
    for module in modules:
        try:
            is_there = find_spec(module) is not None
        except ModuleNotFoundError:  # its parent is not there
            is_there = False
        if not is_there:
            raise explained(ModuleNotFoundError(name=module), what, extra)
