"""The header of a GGUF file, read from any bytes at all: quick, small, and with no error but its own."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from gguf import GGUFReader, LlamaFileType
from hypothesis import given
from hypothesis import strategies as st

from engine.models import facts, gguf_header
from engine.models.facts import facts_of
from engine.models.gguf_header import Header, HeaderError, parse_header, read_header
from tests.kinds.files import GENERATING, ModelSpec
from tests.kinds.hostile import DAMAGES, SPM

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return ModelSpec(SPM).write(tmp_path_factory.mktemp("good") / "good.gguf").read_bytes()


def whole(data: bytes) -> Header:
    return parse_header(data, len(data))


def entry(name: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


def file_of(*keys: bytes, n_keys: int | None = None, n_tensors: int = 0, version: int = 3) -> bytes:
    n_keys = len(keys) if n_keys is None else n_keys
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys) + b"".join(keys)


@pytest.mark.parametrize("name", GENERATING)
def test_it_says_what_the_gguf_package_reads(tmp_path: Path, name: str) -> None:
    path = GENERATING[name].write(tmp_path / "m.gguf")
    header, reader = read_header(path), GGUFReader(path)
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert header.values.keys() | header.lengths.keys() == fields.keys()
    for key, field in fields.items():
        if key in header.lengths:
            assert header.lengths[key] == len(field.data)
        if key in header.values:
            value = header.values[key]
            assert (list(value) if isinstance(value, tuple) else value) == field.contents()
    assert header.n_tensors == len(reader.tensors)
    assert header.n_weights == sum(int(tensor.n_elements) for tensor in reader.tensors)


def test_all_file_types_have_their_names() -> None:
    named = {kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in LlamaFileType}
    del named[LlamaFileType.GUESSED]
    assert named == facts._FILE_TYPES


@given(st.data())
def test_any_beginning_of_a_file_is_read_as_far_as_it_goes(good: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(good)))
    header = parse_header(good[:cut], len(good))
    assert header.values.items() <= whole(good).values.items()
    assert header.n_weights in {None, whole(good).n_weights}


@given(st.data())
def test_any_damage_is_an_error_or_none(good: bytes, data: st.DataObject) -> None:
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, 2000))] = data.draw(st.integers(0, 255))
    with suppress(HeaderError):
        facts_of(whole(bytes(damaged)))


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_header_are_an_error_or_none(noise: bytes) -> None:
    with suppress(HeaderError):
        facts_of(whole(file_of(noise, n_keys=3, n_tensors=2)))


@pytest.mark.parametrize("name", sorted(DAMAGES.keys() - {"cut in the weights", "tensor behind the end"}))
def test_damage_of_the_header_is_an_error(good: bytes, name: str) -> None:
    with pytest.raises(HeaderError) as caught:
        whole(DAMAGES[name](good))
    assert str(caught.value).isprintable()


NESTED = struct.pack("<IQIQ", 9, 1 << 20, 9, 1)
HOSTILE = {
    "no magic": (b"PK\x03\x04" + bytes(30), "begins with"),
    "old": (file_of(version=1), "version is 1"),
    "from the future": (file_of(version=4), "version is 4"),
    "of the other endianness": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version is 50331648"),
    "too many keys": (file_of(n_keys=1 << 60), "1152921504606846976 keys"),
    "too many tensors": (file_of(n_tensors=1 << 60), "1152921504606846976 tensors"),
    "lists of lists": (file_of(entry("a", 9, NESTED), bytes(99)), "lists values of the unknown kind 9"),
    "long list": (file_of(entry("a", 9, struct.pack("<IQ", 12, 1 << 61)), bytes(99)), "a list has"),
    "long list of texts": (
        file_of(entry("a", 9, struct.pack("<IQ", 8, 1 << 61)), bytes(99)),
        "a list of texts",
    ),
    "long text in a list": (
        file_of(entry("a", 9, struct.pack("<IQQ", 8, 2, 1 << 63)), bytes(99)),
        "it points to byte",
    ),
    "long text": (file_of(entry("a", 8, struct.pack("<Q", 1 << 40)), bytes(99)), "a text has"),
    "long key": (file_of(struct.pack("<Q", 1 << 40), bytes(99)), "a key has"),
    "unknown kind": (file_of(entry("a", 13, bytes(8))), "unknown kind 13"),
    "dimensions": (
        file_of(struct.pack("<Q1sI", 1, b"t", 1 << 31), bytes(99), n_keys=0, n_tensors=1),
        "dimensions",
    ),
    "elements": (
        file_of(struct.pack("<Q1sIQQ", 1, b"t", 2, 1 << 62, 1 << 62), bytes(99), n_keys=0, n_tensors=1),
        "elements",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name: str) -> None:
    data, complaint = HOSTILE[name]
    with pytest.raises(HeaderError, match=complaint):
        whole(data)


@pytest.mark.parametrize(("kind", "size"), [(0, 1), (6, 4), (8, 8)])
def test_a_list_that_fills_the_file_is_not_kept(kind: int, size: int) -> None:
    count = 1 << 16
    values = bytes(size * count)
    data = file_of(entry("a", 9, struct.pack("<IQ", kind, count) + values), entry("b", 4, bytes(4)))
    tracemalloc.start()
    header = whole(data)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 16
    assert (header.lengths, header.values) == ({"a": count}, {"b": 0})


def test_a_file_that_grows_larger_is_read_in_larger_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_header, "FIRST_READ", 64)
    path = ModelSpec(SPM).write(tmp_path / "m.gguf")
    assert read_header(path).is_whole
    monkeypatch.setattr(gguf_header, "_MOST_READ", 64)
    assert not read_header(path).is_whole
