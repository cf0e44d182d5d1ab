"""Bytes for hypothesis: JSON, protocol buffers and HTTP, valid and spoilt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from engine.contract.requests import CompletionRequest
from tests.requests_strategy import Vocabulary, requests

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

VOCABULARY = Vocabulary(n_vocab=32, max_model_len=256, most_tokens=32)

_UNSUPPORTED = [
    name
    for pattern in CompletionRequest.unsupported.pattern_properties()
    for name in pattern.strip("^()$").split("|")
]
_KNOWN = st.sampled_from([*CompletionRequest.model_fields, "repeat_penalty"])
NAMES = _KNOWN | _KNOWN | st.sampled_from([*_UNSUPPORTED, "nonsense", ""])
"""Names of fields: known, refused and unknown."""

_ODD_JSON = [
    *("null", "true", "false", "0", "-0", "-0.0", "1", "1.0", "1e0", "1e999", "-1e999", "1e-400", "5E-324"),
    *("NaN", "Infinity", "-Infinity", "nan", "01", "+1", ".5", "1.", "0x1", "1_0", "1" * 400, "9" * 5000),
    *("9007199254740993", "18446744073709551616", "-9223372036854775809", "[]", "{}", "[[]]", "[null]"),
    *(
        '""',
        '"a"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u0000"',
        '"\0"',
        '"\\x"',
        '"\udfff"',
    ),
    *(
        '{"":null}',
        '{"type":"text","text":"a"}',
        '{"a":1,"a":2}',
        '{"1":NaN}',
        "'a'",
        "[1,]",
        "//",
        "\ufeff{}",
    ),
    *("[" * 3000, "[" * 150 + "]" * 150, '{"a":' * 300 + "1" + "}" * 300),
]


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(NAMES.map(json.dumps) | st.text(max_size=3).map(json.dumps), values)
    return st.lists(members, max_size=3).map(lambda pairs: f"{{{','.join(map(':'.join, pairs))}}}")


JSON = st.recursive(
    st.sampled_from(_ODD_JSON)
    | st.integers().map(str)
    | st.floats().map(json.dumps)
    | st.text(max_size=4).map(json.dumps),
    lambda inner: _objects(inner) | st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
    max_leaves=6,
)
"""JSON, nearly: each value in every spelling."""


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Take bytes; cut some out, double some, or put others in their place, at most three times."""
    raw = draw(whole)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 3]))):
        begin = draw(st.integers(0, len(raw)))
        end = min(len(raw), begin + draw(st.integers(0, 8)))
        instead = draw(
            st.sampled_from([b"", raw[begin:end] * 2, b"\0", b"\xff", b"\r\n"]) | st.binary(max_size=6)
        )
        raw = raw[:begin] + instead + raw[end:]
    return raw


@st.composite
def json_requests(draw: st.DrawFn) -> str:
    """Make a body with valid fields, odd ones, and some of them twice."""
    members = {"model": '"fake"', "prompt": '"ABC"', "max_tokens": "2"}
    members |= {name: json.dumps(value) for name, value in draw(requests(VOCABULARY)).fields.items()}
    pairs = [*members.items(), *draw(st.lists(st.tuples(NAMES, JSON), max_size=3))]
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}"


BODIES = mutated((json_requests() | JSON).map(lambda text: text.encode(errors="surrogatepass"))) | st.binary(
    max_size=40
)
"""Bodies of a request over HTTP."""

_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-1, 40),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats() | st.sampled_from([0.0, 0.5, 1.0]),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_STRING: st.text(max_size=6) | st.sampled_from(["", "fake", "user", "A\0B"]),
}


def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Return the values of a field, or of one of its items."""
    return _SCALARS[field.cpp_type] if field.message_type is None else messages(field.message_type)


@st.composite
def messages(draw: st.DrawFn, kind: Descriptor) -> dict[str, Any]:
    """Make what the constructor of a message takes, with any of its fields set to anything."""
    made: dict[str, Any] = {}
    for field in draw(st.lists(st.sampled_from(list(kind.fields)), max_size=6)):
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            keys, values = map(_values, field.message_type.fields)
            made[field.name] = draw(st.dictionaries(keys, values, max_size=3))
        elif field.is_repeated:
            made[field.name] = draw(st.lists(_values(field), max_size=3))
        else:
            made[field.name] = draw(_values(field))
    return made
