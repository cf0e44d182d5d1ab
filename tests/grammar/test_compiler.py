"""Compiled forms are kept, within bounds, and any thread may ask for them."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from llguidance import LLExecutor, LLMatcher, LLParserLimits

from engine.grammar import compiler as module
from engine.grammar.compiler import GrammarCompiler
from engine.grammar.form import Form, GrammarError
from tests.grammar.walks import PIECES, accepts, allowed, vocabulary, walk

if TYPE_CHECKING:
    from engine.grammar.matcher import Matcher

PERSON = Form(
    "json_schema",
    json.dumps(
        {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name"],
        }
    ),
)


def test_a_form_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = GrammarCompiler(vocabulary())
    assert not compiler.is_cached(PERSON)
    first = compiler.compile(PERSON)
    assert compiler.is_cached(PERSON)
    first.take(ord("{"))
    monkeypatch.setattr(module, "LLMatcher", None)
    assert accepts(compiler.compile(PERSON), '{"name": "Ann", "age": 3}')
    assert not compiler.is_cached(Form("regex", PERSON.text))


def test_the_forms_used_last_are_kept() -> None:
    compiler = GrammarCompiler(vocabulary())
    forms = [Form("choice", json.dumps([f"{i}"])) for i in range(module._MAX_CACHED + 1)]
    for form in forms[:-1]:
        compiler.compile(form)
    compiler.compile(forms[0])
    compiler.compile(forms[-1])
    assert compiler.is_cached(forms[0])
    assert not compiler.is_cached(forms[1])


def test_long_forms_push_out_others_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_CACHED_BYTES", 1000)
    compiler = GrammarCompiler(vocabulary())
    forms = [Form("choice", json.dumps([f"{i}" + "x" * 300])) for i in range(4)]
    for form in forms:
        compiler.compile(form)
    assert [compiler.is_cached(form) for form in forms] == [False, True, True, True]


def test_a_refused_form_is_not_kept() -> None:
    compiler = GrammarCompiler(vocabulary())
    for _ in range(2):
        with pytest.raises(GrammarError):
            compiler.compile(Form("regex", "("))
    assert not compiler.is_cached(Form("regex", "("))


def test_a_form_that_met_a_limit_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_limits", lambda **_: LLParserLimits(max_lexer_states=300))
    compiler = GrammarCompiler(vocabulary())
    form = Form("regex", ".*a.{9}x")
    matcher, rng = compiler.compile(form), np.random.default_rng(1)
    with pytest.raises(GrammarError, match="too complex"):
        _go_on(matcher, rng)
    assert matcher.is_worn
    assert not compiler.is_cached(form)
    again = compiler.compile(form)
    again.take(ord("b"))
    assert ord("a") in allowed(again)


def _go_on(matcher: Matcher, rng: np.random.Generator) -> None:
    for _ in range(2000):
        tokens = allowed(matcher)
        assert len(tokens) > 10
        matcher.take(int(rng.choice([ord("a"), ord("b")])))


def test_threads_share_forms() -> None:
    compiler = GrammarCompiler(vocabulary())
    forms = [PERSON, Form("regex", "[a-z]{3,9}"), Form("choice", '["yes", "no"]')]

    def write(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for form in forms * 3:
            text = walk(compiler.compile(form), rng)
            assert text is None or accepts(compiler.compile(form), text)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))


def test_an_executor_fills_the_masks_of_a_batch() -> None:
    compiler = GrammarCompiler(vocabulary())
    matchers = [
        compiler.compile(form)
        for form in (PERSON, Form("regex", "[0-9]"), Form("choice", '["é"]'))
        for _ in "abc"
    ]
    masks = np.zeros((len(matchers), (len(PIECES) + 31) // 32), np.uint32)
    executor = LLExecutor(2)
    pairs = [(matcher.raw, row) for row, matcher in enumerate(matchers)]
    executor.unsafe_compute_mask_ptr(pairs, masks.ctypes.data, masks.strides[0], len(matchers))
    for row, matcher in enumerate(matchers):
        found = np.flatnonzero(np.unpackbits(masks[row].view(np.uint8), bitorder="little"))
        assert found.tolist() == allowed(matcher.copy()).tolist()


def test_other_threads_run_while_a_form_is_compiled() -> None:
    slow = Form(
        "json_schema",
        json.dumps({"type": "object", "properties": {f"p{i}": {"type": "object"} for i in range(900)}}),
    )
    grammar = module.grammar_of(slow)
    done = threading.Event()

    def compile_it() -> None:
        LLMatcher(vocabulary(), grammar, log_level=0)
        done.set()

    thread = threading.Thread(target=compile_it)
    thread.start()
    turns = 0
    while not done.wait(0.001):
        turns += 1
    thread.join()
    assert turns >= 3
