# Nucleus on NVIDIA GPUs. The host needs a driver for CUDA 12.8 or newer, and the NVIDIA Container Toolkit. From the root of a clone:
#
#   docker build -f packaging/docker/cuda.Dockerfile -t nucleus:cuda .
#   docker run --rm --gpus all --stop-timeout 60 -p 127.0.0.1:8000:8000 -p 127.0.0.1:50051:50051 \
#       -v nucleus:/var/lib/nucleus nucleus:cuda serve user/repo:Q4_K_M

FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS build

# hadolint ignore=DL3008 # Ubuntu keeps only the newest version of a package
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

RUN python3 -m venv /opt/nucleus
ENV PATH=/opt/nucleus/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# Kernels for every generation take an hour; for the one that you have, such as an RTX 4090, minutes:
#   --build-arg CUDA_ARCHITECTURES=89
# NCCL is for several GPUs, and would have to be installed below. No driver is here to link with.
ARG CUDA_ARCHITECTURES=
ARG CMAKE_ARGS="-DGGML_CUDA=ON -DGGML_CUDA_NCCL=OFF -DGGML_NATIVE=OFF -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined"
WORKDIR /src
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*(name for name in tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['llm'] if name.startswith('llama-cpp-python')))" > llama.txt \
    && CMAKE_ARGS="${CMAKE_ARGS}${CUDA_ARCHITECTURES:+ -DCMAKE_CUDA_ARCHITECTURES=${CUDA_ARCHITECTURES}}" pip install -r llama.txt

COPY setup.py MANIFEST.in README.md LICENSE ./
COPY csrc csrc
COPY engine engine
# hadolint ignore=DL3013 # it is this clone
RUN pip install ".[model]"


FROM nvidia/cuda:12.8.1-base-ubuntu24.04

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libcublas-12-8 libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --home-dir /var/lib/nucleus --create-home --shell /usr/sbin/nologin nucleus

COPY --from=build /opt/nucleus /opt/nucleus
ENV PATH=/opt/nucleus/bin:$PATH HOME=/var/lib/nucleus NUCLEUS_HOST=0.0.0.0

USER 10001:10001
WORKDIR /var/lib/nucleus
VOLUME /var/lib/nucleus
EXPOSE 8000 50051

HEALTHCHECK --interval=30s --timeout=5s --start-period=15m \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"NUCLEUS_HTTP_PORT\", 8000)}/health', timeout=4)"]

ENTRYPOINT ["nucleus"]
CMD ["serve"]
