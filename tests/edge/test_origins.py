"""A page of the web cannot use the server of whoever visits it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ForbiddenError
from engine.serving.auth import ApiKeys
from engine.serving.gate import Gate
from engine.serving.origins import OriginPolicy
from engine.serving.playground import PATHS
from tests.edge.servers import ASK, PATH, Served, error_of, post, served, status_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JSON = "Content-Type: application/json"
LOCAL = OriginPolicy.of("127.0.0.1")
NAMED = OriginPolicy.of("192.0.2.7", ["Nucleus.Example."], ["https://App.example/"])
EVERYWHERE = OriginPolicy.of("0.0.0.0")  # noqa: S104


@pytest.fixture(scope="module")
async def local() -> AsyncIterator[Served]:
    async with served(origins=LOCAL) as local:
        yield local


@pytest.mark.parametrize(
    ("policy", "host"),
    [
        *(
            (LOCAL, host)
            for host in ("localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:1", "127.9.9.9")
        ),
        *((LOCAL, host) for host in ("[::1]:8000", "[::1]", "app.localhost")),
        *((NAMED, host) for host in ("192.0.2.7:8000", "nucleus.example", "NUCLEUS.example.:8000")),
        *((EVERYWHERE, host) for host in ("10.1.2.3:8000", "[fe80::1]:8000", "localhost")),
        (OriginPolicy.of("127.0.0.1", ["*"]), "evil.example"),
    ],
)
def test_own_names_are_served(policy: OriginPolicy, host: str) -> None:
    policy.check([host], None)
    policy.check([host], f"http://{host}")


@pytest.mark.parametrize(
    ("policy", "host"),
    [
        *((LOCAL, host) for host in ("evil.example", "evil.example:8000", "10.1.2.3", "0.0.0.1", "[::1", "")),
        *((LOCAL, host) for host in ("localhost/health", "localhost@evil.example", "localhost:8000:8000")),
        *(
            (LOCAL, host)
            for host in ("localhost.evil.example", "127.0.0.1.evil.example", "[::1].evil.example")
        ),
        *(
            (LOCAL, host)
            for host in ("evil.example#localhost", " localhost", "localhost\t", "\uff4cocalhost", "127.1")
        ),
        *((NAMED, host) for host in ("other.example", "evil-nucleus.example", "192.0.2.8")),
        *((EVERYWHERE, host) for host in ("evil.example", "10.1.2.3.evil.example")),
    ],
)
def test_other_names_are_refused(policy: OriginPolicy, host: str) -> None:
    with pytest.raises(ForbiddenError, match="--allowed-host"):
        policy.check([host], None)


def test_two_hosts_are_refused_and_none_is_an_old_client() -> None:
    LOCAL.check([], None)
    with pytest.raises(ForbiddenError):
        LOCAL.check(["localhost", "localhost"], None)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://127.0.0.1:9", "file://", "https://app"]
)
def test_foreign_pages_are_refused(origin: str) -> None:
    with pytest.raises(ForbiddenError, match="--cors-origin"):
        LOCAL.check(["127.0.0.1:8000"], origin)


def test_named_pages_are_served() -> None:
    NAMED.check(["192.0.2.7"], "https://app.example")
    OriginPolicy.of("127.0.0.1", [], ["*"]).check(["localhost"], "http://evil.example")
    with pytest.raises(ForbiddenError):
        NAMED.check(["192.0.2.7"], "http://app.example")


@given(host=st.text(st.characters(max_codepoint=255), max_size=30))
def test_a_host_is_served_or_refused_and_nothing_else(host: str) -> None:
    try:
        LOCAL.check([host], None)
    except ForbiddenError:
        return
    name = host.lower().rpartition(":")[0] or host.lower()
    assert any(word in name for word in ("localhost", "127.", "::1", "7f"))


@pytest.mark.parametrize("header", ["Host: evil.example", "Host: localhost\r\nOrigin: http://evil.example"])
async def test_a_page_reaches_no_route_but_health(local: Served, header: str) -> None:
    answer = await local.raw(post(ASK, JSON, header))
    assert (status_of(answer), error_of(answer)["code"]) == (403, "forbidden")
    for path in (
        "/v1/models",
        "/metrics",
        "/docs",
        "/docs/static/swagger-ui.css",
        "/nowhere",
        "/openapi.json",
    ):
        answer = await local.raw(f"GET {path} HTTP/1.1\r\nConnection: close\r\n{header}\r\n\r\n".encode())
        assert status_of(answer) == 403, path
    answer = await local.raw(f"GET /health HTTP/1.1\r\nConnection: close\r\n{header}\r\n\r\n".encode())
    assert status_of(answer) == 200


async def test_with_a_key_any_name_will_do() -> None:
    async with served(keys=ApiKeys(["sk-1"]), origins=LOCAL) as guarded:
        key = "Authorization: Bearer sk-1"
        hosts = "Host: evil.example\r\nOrigin: http://evil.example"
        assert status_of(await guarded.raw(post(ASK, JSON, key, hosts))) == 200
        assert status_of(await guarded.raw(post(ASK, JSON, hosts))) == 401


@pytest.mark.parametrize(
    "declared",
    [
        *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""),
        *(
            "text/json",
            "application/jsonp",
            "application/json-seq",
            "application/json; charset=latin-1",
            "json",
        ),
        None,
    ],
)
@pytest.mark.parametrize("path", [PATH, "/tokenize", "/detokenize"])
async def test_what_is_not_declared_as_json_is_refused(
    local: Served, path: str, declared: str | None
) -> None:
    """A page may send other types to any origin without asking first, and one without a type as well."""
    header = [] if declared is None else [f"Content-Type: {declared}"]
    answer = await local.raw(post(ASK, "Host: localhost", *header, path=path))
    assert (status_of(answer), error_of(answer)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "declared",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf8",
        "application/x+json",
    ],
)
async def test_json_may_be_declared_in_many_ways(local: Served, declared: str) -> None:
    answer = await local.raw(post(ASK, "Host: localhost", f"Content-Type: {declared}"))
    assert status_of(answer) == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_a_compressed_body_is_refused_as_such(local: Served, encoding: str) -> None:
    answer = await local.client.post(PATH, json=ASK, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert encoding in answer.json()["error"]["message"]
    assert answer.headers["accept-encoding"] == "identity"
    assert (
        await local.client.post(PATH, json=ASK, headers={"Content-Encoding": "identity"})
    ).status_code == 200


async def test_without_an_origin_named_no_page_may_read_an_answer(local: Served) -> None:
    answer = await local.client.post(PATH, json=ASK)
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_named_page_may_call_and_read() -> None:
    async with served(keys=ApiKeys(["sk-1"]), origins=NAMED) as open_to_app:
        client, origin = open_to_app.client, {"Origin": "https://app.example"}
        asked = origin | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
            "Access-Control-Request-Private-Network": "true",
        }
        preflight = await client.options(PATH, headers=asked)
        assert preflight.status_code == 200, "it is answered without a key: browsers send none"
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        assert preflight.headers["access-control-allow-private-network"] == "true"
        answer = await client.post(PATH, json=ASK, headers=origin | {"Authorization": "Bearer sk-1"})
        refusal = await client.post(PATH, json=ASK, headers=origin)
        assert (answer.status_code, refusal.status_code) == (200, 401)
        for readable in (answer, refusal):
            assert readable.headers["access-control-allow-origin"] == "https://app.example"
            assert "x-request-id" in readable.headers["access-control-expose-headers"]
            assert "access-control-allow-credentials" not in readable.headers
        foreign = await client.options(PATH, headers=asked | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers


async def test_head_is_answered_wherever_get_is(local: Served) -> None:
    for path in (
        "/health",
        "/ready",
        "/v1/models",
        "/v1/models/fake",
        "/metrics",
        "/docs",
        "/tokenizer_info",
    ):
        whole, head = await local.client.get(path), await local.client.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == whole.headers["content-type"]
    assert (await local.client.head(PATH)).status_code == 405


async def test_one_model_is_described(local: Served) -> None:
    (card,) = (await local.client.get("/v1/models")).json()["data"]
    assert (await local.client.get("/v1/models/fake")).json() == card
    for other in ("other", "a/b:Q4", ""):
        answer = await local.client.get(f"/v1/models/{other}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_the_page_of_the_contract_comes_from_the_server_alone(local: Served) -> None:
    page = (await local.client.get("/docs")).text
    assert "//cdn" not in page
    addresses = [part.split('"')[0] for mark in ('src="', 'href="') for part in page.split(mark)[1:]]
    assert addresses
    for address in addresses:
        assert address.startswith("/")
        answer = await local.client.get(address)
        assert answer.status_code == 200


async def test_every_route_of_the_framework_wants_the_key_but_health_and_the_page() -> None:
    """Found by walking the routes, so that one that is added later is asked too."""
    async with served(keys=ApiKeys(["sk-1"])) as guarded:
        app = guarded.server.config.app
        assert isinstance(app, Gate)
        paths = {str(getattr(route, "path", route)) for route in app.routes}
        assert {PATH, "/v1/models/{model:path}", "/metrics", "/docs", "/docs/static"} <= paths
        for path in paths:
            for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
                answer = await guarded.client.request(method, path.replace("{model:path}", "fake"))
                if path in {"/health", "/ready"} | PATHS:  # the page holds nothing of the server
                    assert answer.status_code in (200, 405), (method, path)
                else:
                    assert answer.status_code == 401, (method, path)
