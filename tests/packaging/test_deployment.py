"""What `packaging/` has for those who run a server, as far as it can be tried without Docker and systemd."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from engine.settings import ENV_PREFIX, ServeSettings
from tests.edge.servers import served
from tests.process import NUCLEUS

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging" / "systemd" / "nucleus.service"
DOCKERFILES = sorted((ROOT / "packaging" / "docker").glob("*.Dockerfile"))
of_each = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(text_of(UNIT).replace("/opt/nucleus/bin/nucleus", NUCLEUS))
    verified = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.parametrize(
    "file", [*DOCKERFILES, UNIT, ROOT / "docs" / "deploying.md"], ids=lambda path: path.name
)
def test_settings_that_are_named_exist(file: Path) -> None:
    known = {ENV_PREFIX + name.upper() for name in ServeSettings.model_fields}
    named = set(re.findall(rf"\b{ENV_PREFIX}[A-Z_]+\b", text_of(file)))
    assert named
    assert named - known == set()


@of_each
def test_what_an_image_copies_is_in_the_tree(dockerfile: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.*)$", text_of(dockerfile), re.MULTILINE)
    sources = {source for line in copied for source in line.split()[:-1]}
    assert {"pyproject.toml", "setup.py", "csrc", "engine"} <= sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


@of_each
def test_an_image_finds_the_one_requirement_that_it_compiles_first(dockerfile: Path) -> None:
    (command,) = re.findall(r"^RUN (python -c .*?) > llama.txt", text_of(dockerfile), re.MULTILINE)
    _, *arguments = shlex.split(command)
    printed = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert Requirement(printed.stdout.strip()).name == "llama-cpp-python"


@of_each
async def test_the_health_check_of_an_image_tells_a_server_from_none(dockerfile: Path) -> None:
    _, *arguments = json.loads(re.findall(r'CMD (\["python".*\])', text_of(dockerfile))[0])

    async def check(port: int) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            env={"NUCLEUS_HTTP_PORT": str(port)},
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()

    async with served() as door:
        assert await check(door.port) == 0
        await asyncio.to_thread(door.service.close)
        assert await check(door.port) != 0
    assert await check(door.port) != 0
