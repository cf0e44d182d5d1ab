"""``nucleus doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.commands.terminal import out, quiet_logging, write_json
from engine.settings import ENV_PREFIX, ServeSettings

_OTHER_VARIABLES = {f"{ENV_PREFIX}{name}" for name in ("CONFIG", "DEBUG", "KERNELS")}


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON.")] = False,
) -> None:
    """Say what this machine and this installation are, what is wrong, and how to mend it.

    nucleus doctor

    The exit status is 1 if nothing can be served before something is mended.
    """
    from engine.loading.diagnosis import diagnose

    quiet_logging()
    ports = {
        f"--{name}-port": int(ServeSettings.model_fields[f"{name}_port"].default) for name in ("http", "grpc")
    }
    findings = []
    for finding in diagnose(known_variables=_known_variables(context), ports=ports):
        findings.append(finding)
        if as_json:
            continue
        out.print(f"{finding.what:<10}", style="bold", end="")
        out.print(finding.value, markup=False)
        if finding.problem:
            out.print(
                f"{'':<10}{finding.problem}", style="bold red" if finding.is_grave else "yellow", markup=False
            )
            out.print(f"{'':<10}{finding.remedy}", markup=False)
    problems = [finding for finding in findings if finding.problem]
    if as_json:
        write_json([finding.as_json() for finding in findings])
    else:
        out.print("All is well." if not problems else f"{len(problems)} to look at.", style="bold")
    if any(finding.is_grave for finding in problems):
        raise typer.Exit(1)


def _known_variables(context: typer.Context) -> set[str]:
    """Return the variables of every verb's options."""
    verbs = getattr(getattr(context.parent, "command", None), "commands", {})
    options = (option for verb in verbs.values() for option in verb.params)
    return _OTHER_VARIABLES | {name for option in options for name in _names(option.envvar)}


def _names(variable: str | list[str] | None) -> list[str]:
    return [variable] if isinstance(variable, str) else variable or []
