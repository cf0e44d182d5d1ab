"""Build the one C extension; everything else is declared in ``pyproject.toml``."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# NUCLEUS_BUILD_DEBUG=1 keeps line tracing and writes the annotated HTML beside the generated C.
DEBUG = os.environ.get("NUCLEUS_BUILD_DEBUG") == "1"
# NUCLEUS_BUILD_SANITIZE=1 checks every access to memory and undefined arithmetic, for `make sanitize`.
SANITIZERS = [
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fno-wrapv",
    "-fno-omit-frame-pointer",
    "-g",
    "-O1",
]
SANITIZE = SANITIZERS if os.environ.get("NUCLEUS_BUILD_SANITIZE") == "1" else []

sampler = Extension(
    "engine._sampler",
    sources=["csrc/_sampler.pyx", *sorted(str(path) for path in Path("csrc").glob("*.c"))],
    depends=sorted(str(path) for path in Path("csrc").rglob("*") if path.suffix in {".h", ".inc", ".pxd"}),
    include_dirs=["csrc"],
    # No contraction to fused multiply-adds and no fast-math: every machine must round alike and draw alike.
    extra_compile_args=[
        *["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno"],
        *["-fvisibility=hidden", "-pthread", "-Wall", "-Wextra"],
        *SANITIZE,
    ],
    extra_link_args=["-pthread", *SANITIZE],
    libraries=["m"],
    define_macros=[("CYTHON_TRACE_NOGIL", "1")] if DEBUG else [],
)

setup(
    ext_modules=cythonize(
        [sampler],
        build_dir="build/cython",
        annotate=DEBUG,
        compiler_directives={"language_level": 3, "linetrace": DEBUG},
    ),
)
