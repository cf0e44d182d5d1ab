"""Build the one C extension; everything else is declared in ``pyproject.toml``."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# NUCLEUS_BUILD_DEBUG=1 keeps line tracing and writes the annotated HTML beside the generated C.
DEBUG = os.environ.get("NUCLEUS_BUILD_DEBUG") == "1"

sampler = Extension(
    "engine._sampler",
    sources=["csrc/_sampler.pyx", *sorted(str(path) for path in Path("csrc").glob("*.c"))],
    depends=sorted(str(path) for path in Path("csrc").glob("*.h")),
    include_dirs=["csrc"],
    # No contraction to fused multiply-adds and no fast-math: every machine must round alike and draw alike.
    extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra"],
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
