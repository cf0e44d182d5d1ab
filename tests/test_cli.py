"""The command, tried as a new user would try it: in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from tests.answers import raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NUCLEUS = str(Path(sys.executable).with_name("nucleus"))
EXAMPLE = {
    "model": "gpt-3.5-turbo-instruct",
    "prompt": "天气非常好",
    "temperature": 0.7,
    "max_tokens": 100,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": 1,
}
FETCH = """
const response = await fetch(process.argv[1] + '/v1/completions', {
  method: 'POST',
  headers: {'Content-Type': 'application/json', 'Authorization': 'Bearer sk-xxxx'},
  body: JSON.stringify({
    model: 'gpt-3.5-turbo-instruct', prompt: '天气非常好', temperature: 0.7, max_tokens: 100, top_p: 1,
    frequency_penalty: 0, presence_penalty: 0, logprobs: 1
  })
});
console.log(JSON.stringify(await response.json()));
"""


def environment(**settings: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("NUCLEUS_")}
    return plain | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"} | settings


def nucleus(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NUCLEUS, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def nucleus_each(*runs: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
    """Run the command once for each list of arguments, all at once: a start takes a second or two."""
    with ThreadPoolExecutor(len(runs)) as threads:
        return list(threads.map(lambda arguments: nucleus(*arguments), runs))


def check_failure(run: subprocess.CompletedProcess[str], *words: str) -> None:
    assert run.returncode == 1
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("nucleus: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of ``nucleus serve``, set up through its environment alone."""
    settings = {
        "NUCLEUS_ALIAS": "gpt-3.5-turbo-instruct",
        "NUCLEUS_API_KEY": "sk-xxxx",
        "NUCLEUS_HTTP_PORT": "0",
        "NUCLEUS_GRPC_PORT": "0",
    }
    process = subprocess.Popen(
        [NUCLEUS, "serve"],
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "curl" in line:
            break
    found = re.search(r"http://127\.0\.0\.1:\d+", "".join(said))
    assert found, "".join(said) + process.stderr.read()
    yield found[0]
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in complaints


def check_example(answer: object) -> None:
    assert isinstance(answer, dict), answer
    assert answer["model"] == "gpt-3.5-turbo-instruct"
    choice = answer["choices"][0]
    assert choice["text"]
    assert len(choice["logprobs"]["tokens"]) == answer["usage"]["completion_tokens"]
    written = b"".join(map(raw, choice["logprobs"]["tokens"]))
    assert written.decode("utf-8", "replace").startswith(choice["text"])
    assert answer["usage"]["prompt_tokens"] == 11


def test_the_example_with_curl(server: str) -> None:
    run = subprocess.run(
        [
            "curl",
            "-s",
            f"{server}/v1/completions",
            "-H",
            "Content-Type: application/json",
            "-H",
            "Authorization: Bearer sk-xxxx",
            "-d",
            json.dumps(EXAMPLE, ensure_ascii=False),
        ],
        capture_output=True,
        check=True,
    )
    check_example(json.loads(run.stdout))


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_example_with_fetch_in_node(server: str) -> None:
    command = ["node", "--input-type=module", "-e", FETCH, server]
    run = subprocess.run(command, capture_output=True, check=True)
    check_example(json.loads(run.stdout))


def test_the_example_with_requests(server: str) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-xxxx"}
    answer = requests.post(f"{server}/v1/completions", headers=headers, json=EXAMPLE, timeout=100)
    check_example(answer.json())


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-wrong"}])
def test_the_example_without_the_key(server: str, headers: dict[str, str]) -> None:
    answer = requests.post(f"{server}/v1/completions", headers=headers, json=EXAMPLE, timeout=100)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_complete_streams_to_the_terminal() -> None:
    run = nucleus("complete", "The capital of France is", "--temperature", "0", "--max-tokens", "8")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(" Paris")
    assert run.stderr == ""


def test_a_flag_wins_over_its_twin_in_the_environment() -> None:
    run = nucleus("complete", "a", "--max-tokens", "0", NUCLEUS_MAX_TOKENS="5")
    check_failure(run, "--max-tokens", "0")


@pytest.mark.parametrize(
    "verb", [["serve", "--http-port", "0", "--grpc-port", "0"], ["complete", "a", "--model"]]
)
def test_what_is_no_model_is_one_line(verb: list[str], tmp_path: Path) -> None:
    text = tmp_path / "text.gguf"
    text.write_text("This is no model at all, only text.")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 200)
    files = tmp_path / "absent.gguf", text, damaged
    models = {str(file): file.name for file in files} | {"smollm2-135m-instuct": "smollm2-135m-instruct"}
    runs = nucleus_each(*([*verb, model] for model in models))
    for run, word in zip(runs, models.values(), strict=True):
        check_failure(run, word)


@pytest.mark.parametrize("flag", ["--http-port", "--grpc-port"])
def test_a_port_in_use_is_one_line(flag: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        ports = {"--http-port": "0", "--grpc-port": "0"} | {flag: port}
        run = nucleus("serve", *(word for pair in ports.items() for word in pair))
    check_failure(run, port, "in use")


def test_the_package_is_the_command() -> None:
    command = [sys.executable, "-m", "engine", "--version"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.split()[0], run.stderr) == (0, "nucleus", "")


def test_a_value_out_of_range_is_one_line() -> None:
    parallel, port = nucleus_each(["serve", "--parallel", "0"], ["serve", "--http-port", "x"])
    check_failure(parallel, "--parallel", "1", "'0'")
    check_failure(port, "--http-port", "'x'")
    check_failure(nucleus("serve", NUCLEUS_GPU_LAYERS="some"), "--gpu-layers should", "'some'")


def test_help_names_every_flag_and_how_to_name_its_twin() -> None:
    text = nucleus("serve", "--help").stdout
    for name in ("HOST", "HTTP_PORT", "GRPC_PORT", "ALIAS", "API_KEY", "PARALLEL", "CTX_SIZE", "THREADS"):
        assert "--" + name.lower().replace("_", "-") in text
    assert "NUCLEUS_CTX_SIZE" in text


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import engine, sys; print(sorted({'llama_cpp', 'pydantic', 'grpc', 'numpy'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
