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
SYSTEMD = ROOT / "packaging" / "systemd"
UNIT, INSTANCE, GATEWAY = (SYSTEMD / name for name in ("nucleus.service", "instance.conf", "smg.service"))
DOCKERFILES = sorted((ROOT / "packaging" / "docker").glob("*.Dockerfile"))
of_each = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)


def text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """The server's, as an instance of several, and that of the gateway in front of them."""
    unit = text_of(UNIT).replace("/opt/nucleus/bin/nucleus", NUCLEUS)
    files = {
        UNIT.name: unit,
        "nucleus@.service": unit,
        "nucleus@.service.d/instance.conf": text_of(INSTANCE),
        GATEWAY.name: text_of(GATEWAY).replace("/opt/smg/bin/smg", NUCLEUS),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in (UNIT.name, "nucleus@0.service", GATEWAY.name):
        verified = subprocess.run(
            ["systemd-analyze", "verify", tmp_path / name], capture_output=True, text=True, check=False
        )
        assert (verified.returncode, verified.stderr) == (0, "")


def test_the_gateway_asks_the_instances_where_they_listen() -> None:
    (ports,) = re.findall(r"NUCLEUS_HTTP_PORT=(\d+)%i", text_of(INSTANCE))
    asked = re.findall(r"http://127\.0\.0\.1:(\d+)", text_of(GATEWAY))
    assert asked == [f"{ports}{number}" for number in range(2)]


@pytest.mark.parametrize(
    "file",
    [*DOCKERFILES, UNIT, INSTANCE, ROOT / "docs" / "deploying.md", ROOT / "docs" / "scale.md"],
    ids=lambda path: path.name,
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
