"""Build the one C extension; everything else is declared in ``pyproject.toml``."""

import os
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# NUCLEUS_BUILD_DEBUG=1 keeps line tracing and writes the annotated HTML beside the generated C.
DEBUG = os.environ.get("NUCLEUS_BUILD_DEBUG") == "1"
# NUCLEUS_BUILD_FLAGS go to compiler and linker behind all others: `make sanitize` and a test need other ones.
FLAGS = os.environ.get("NUCLEUS_BUILD_FLAGS", "").split()
# One binary for every CPython from 3.11 on; docs/notes/decisions.md has the price. It can neither trace lines
# nor run without the GIL.
ABI3 = not DEBUG and not sysconfig.get_config_var("Py_GIL_DISABLED")


class BuildExtension(build_ext):  # type: ignore[misc]  # mypy skips setuptools
    """Leaves one binary beside the package: of several, Python imports the one for its own version."""

    def copy_extensions_to_source(self) -> None:
        """Copy what was built, and remove what was built before under another name."""
        super().copy_extensions_to_source()
        built = self.get_ext_filename(sampler.name)
        for stale in Path("engine").glob("_sampler.*.so"):
            if stale != Path(built):
                stale.unlink()


sampler = Extension(
    "engine._sampler",
    sources=["csrc/_sampler.pyx", *sorted(str(path) for path in Path("csrc").glob("*.c"))],
    depends=sorted(str(path) for path in Path("csrc").rglob("*") if path.suffix in {".h", ".inc", ".pxd"}),
    include_dirs=["csrc"],
    # No contraction to fused multiply-adds and no fast-math: every machine must round alike and draw alike.
    extra_compile_args=[
        *["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno"],
        *["-fvisibility=hidden", "-pthread", "-Wall", "-Wextra"],
        *FLAGS,
    ],
    extra_link_args=["-pthread", *FLAGS],
    libraries=["m"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if ABI3 else [("CYTHON_TRACE_NOGIL", "1")] * DEBUG,
    py_limited_api=ABI3,
)

setup(
    cmdclass={"build_ext": BuildExtension},
    ext_modules=cythonize(
        [sampler],
        build_dir="build/cython",
        annotate=DEBUG,
        compiler_directives={"language_level": 3, "linetrace": DEBUG},
    ),
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
