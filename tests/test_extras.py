"""Each extra is enough for what it promises, and a missing one is named: with nothing else importable."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.serving.auth import ApiKeys
from engine.serving.grpc import start_grpc
from engine.serving.listen import Endpoint
from tests.embedding.tiny import write

if TYPE_CHECKING:
    from engine.service.service import CompletionService

ROOT = Path(__file__).parent.parent
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
ONLY = """
import sys

class Only:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

hidden = set(sys.argv.pop(1).split(","))
sys.meta_path.insert(0, Only())
"""
CALL = """
import grpc
from engine.pb.nucleus.v1 import completions_pb2 as pb, completions_pb2_grpc as pb_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = pb_grpc.CompletionServiceStub(channel)
    model = stub.ListModels(pb.ListModelsRequest()).models[0].id
    prompt = pb.Prompt(text="The capital of France is")
    request = pb.CompletionRequest(model=model, prompt=prompt, max_tokens=2, temperature=0)
    print(stub.CreateCompletion(pb.CreateCompletionRequest(request=request)).completion.choices[0].text)
for name in ("numpy", "pydantic", "llama_cpp", "fastapi"):
    assert name in hidden and name not in sys.modules
"""
EMBED = """
from engine import LLM

with LLM(sys.argv[1]) as llm:
    print(llm.generate(["a", "b"], max_tokens=2, progress=True)[1].index, llm.score(["abc"])[0].count)
"""


def distributions_of(extra: str) -> set[str]:
    """Return what an extra brings, and what that brings."""
    found: set[str] = set()
    todo = [Requirement(line) for line in EXTRAS[extra]] if extra else []
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name == "nucleus-engine":
            todo += [Requirement(line) for part in requirement.extras for line in EXTRAS[part]]
        elif name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            try:
                todo += map(Requirement, distribution(name).requires or [])
            except PackageNotFoundError:
                found.discard(name)  # a library that can do without it here
    return found


def hidden_by(extra: str) -> str:
    """Return the modules that would not be there if only this extra were installed."""
    brought = distributions_of(extra) | {"nucleus-engine"}
    return ",".join(
        module
        for module, owners in packages_distributions().items()
        if not brought.intersection(map(canonicalize_name, owners))
    )


def run(extra: str, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code where an extra is installed, and nothing else."""
    return subprocess.run(
        [sys.executable, "-c", ONLY + code, hidden_by(extra), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def output_of(extra: str, code: str, *arguments: object) -> str:
    done = run(extra, code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_client_needs_grpc_and_protobuf_alone(service: CompletionService) -> None:
    assert distributions_of("client") == {"grpcio", "protobuf", "typing-extensions"}
    server = await start_grpc(service, ApiKeys(), Endpoint())
    said = await asyncio.to_thread(output_of, "client", CALL, f"127.0.0.1:{server.port}")
    await server.stop(0)
    assert said == " Paris.\n"


@pytest.mark.parametrize(("extra", "module"), [("client", "grpc"), ("http-client", "http")])
def test_a_client_that_resumes_needs_its_wire_alone(extra: str, module: str) -> None:
    assert output_of(extra, f"import engine.client.{module}; print('there')") == "there\n"
    assert not {"pydantic", "numpy"} & distributions_of(extra)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_the_sampler_needs_numpy_alone(example: Path) -> None:
    assert distributions_of("sampler") == {"numpy"}
    assert output_of("sampler", f"import runpy; runpy.run_path({str(example)!r}, run_name='__main__')")


def test_a_model_in_the_process_needs_no_server(tmp_path: Path) -> None:
    assert not {"grpcio", "fastapi", "uvicorn", "typer"} & distributions_of("llm")
    assert output_of("llm", EMBED, write(tmp_path / "tiny.gguf")) == "1 6\n"


def test_the_server_needs_what_its_extra_brings() -> None:
    code = "import engine.commands.app, engine.serving.server; from engine.models import hub; print('there')"
    assert output_of("serve", code) == "there\n"


@pytest.mark.parametrize(
    ("installed", "code", "names"),
    [
        ("", "from engine import LLM", ("engine.LLM", "[llm]")),
        ("sampler", "from engine import AsyncLLM", ("engine.AsyncLLM", "[llm]")),
        ("", "from engine import Sampler", ("engine.Sampler", "numpy", "[sampler]")),
        ("", "import engine.sampling", ("engine.sampling", "numpy", "[sampler]")),
        (
            "",
            "from engine.pb.nucleus.v1 import completions_pb2",
            ("engine.pb", "google.protobuf", "[client]"),
        ),
        ("client", "import engine.client.http", ("engine.client.http", "httpx2", "[http-client]")),
        ("http-client", "import engine.client.grpc", ("engine.client.grpc", "grpc", "[client]")),
        ("", "from engine.cli import main; main()", ("The command", "typer", "[serve]")),
        ("", "import engine.deploy.ray", ("engine.deploy.ray", "[ray]")),
        ("serve", "import engine.deploy.ray", ("engine.deploy.ray", "needs ray", "[ray]")),
    ],
)
def test_what_is_missing_is_named_with_the_extra_that_brings_it(
    installed: str, code: str, names: tuple[str, ...]
) -> None:
    done = run(installed, code)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r"needs [\w.]+, which is not installed\. Install it with: pip install '", last)
    assert all(name in last for name in names), last
    assert ("Traceback" in done.stderr) == ("main()" not in code)


def test_a_command_without_its_server_says_so() -> None:
    code = "hidden.add('fastapi'); from engine.cli import main; main()"
    done = run("serve", code, "serve", "--http-port", "0", "--grpc-port", "0")
    assert (done.returncode, done.stderr) == (
        1,
        "nucleus: The command needs fastapi, which is not installed. Install it with: pip install "
        "'nucleus-engine[serve]'\n",
    )


def test_a_module_of_our_own_that_is_missing_is_no_matter_of_installing() -> None:
    done = run("serve", "hidden.add('engine.llm'); sys.modules['engine.llm'] = None; from engine import LLM")
    assert "pip install" not in done.stderr
    assert "import of engine.llm halted" in done.stderr
