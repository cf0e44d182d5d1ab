"""The source distribution has all that its build reads: it is built, unpacked, compiled and drawn with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from engine import __version__

ROOT = Path(__file__).parents[2]
DRAW = Path(__file__).with_name("draw.py")
FILES = ["CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.py"]
FOLDERS = ["csrc", "engine", "proto"]
SOURCES = {".c", ".h", ".inc", ".md", ".pxd", ".pyx", ".proto", ".py", ".pyi", ".toml", ".typed", ".yaml"}


def run(*command: object, cwd: Path, **environment: str) -> str:
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", *map(str, command)],
        cwd=cwd,
        env=plain | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in a source distribution. It is built from a copy, as a build writes beside what it reads."""
    tree, there = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("sdist")
    for name in FILES:
        shutil.copy(ROOT / name, tree)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    run("-c", f"from setuptools import build_meta; build_meta.build_sdist({str(there)!r})", cwd=tree)
    (archive,) = there.glob("nucleus_engine-*.tar.gz")
    with tarfile.open(archive) as packed:
        safely = (
            {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        )  # Python 3.11 has it since 3.11.4
        packed.extractall(there, **safely)  # type: ignore[arg-type]  # noqa: S202 - made here
    return Path(str(archive).removesuffix(".tar.gz"))


def test_it_has_every_source(unpacked: Path) -> None:
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    wanted = {str(path.relative_to(ROOT)) for path in inside if path.suffix in SOURCES} | set(FILES)
    assert {name for name in wanted if not (unpacked / name).is_file()} == set()


def test_a_wheel_is_compiled_from_it_without_a_network(unpacked: Path, tmp_path: Path) -> None:
    offline = ("--no-index", "--no-deps", "--quiet", "--disable-pip-version-check")
    build = ("wheel", "--no-build-isolation", "--wheel-dir", tmp_path, unpacked)
    run("-m", "pip", *build, *offline, cwd=tmp_path, NUCLEUS_BUILD_FLAGS="-O0")  # a third of the time
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"nucleus_engine-{__version__}-cp311-abi3-")
    with ZipFile(wheel) as packed:
        names = packed.namelist()
        assert not [name for name in names if not name.startswith(("engine/", "nucleus_engine-"))]
        assert {"engine/_sampler.abi3.so", "engine/_sampler.pyi", "engine/py.typed"} <= set(names)
        assert any(name.endswith("licenses/LICENSE") for name in names)
        packed.extractall(tmp_path / "installed")  # noqa: S202 - made here
    said = run(DRAW, cwd=tmp_path, PYTHONPATH=str(tmp_path / "installed"))
    assert "draw alike" in said
    assert str(tmp_path / "installed") in said
