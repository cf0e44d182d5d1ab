"""Forms to matchers, with those compiled last at hand."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits

from engine.grammar.failures import explained
from engine.grammar.form import GrammarError
from engine.grammar.gbnf import gbnf_to_lark
from engine.grammar.json_schema import parsed, prepared
from engine.grammar.lark import checked_lark
from engine.grammar.matcher import Matcher

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from engine.grammar.form import Form

_JSON: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON as ``json.dumps`` writes it: nothing to choose between, and no endless spaces."""
_JSON["json_allowed_escapes"] = 'nrbtf\\"'
"""One way only to write a character: another would write the name of a property twice."""
_MAX_BYTES = 64 * 1024
"""Of a form's text. The largest schema of the sample that `benchmarks.grammar` was made for has 34 KiB."""
_MAX_CACHED = 64
_MAX_CACHED_BYTES = 1024 * 1024


def _limits(*, is_schema: bool) -> LLParserLimits:
    """Return about 20 ms for a mask and 100 MB for a form, however it is made.

    A grammar may be ambiguous, and cost as much as its items squared; a schema never is, but may have many.
    """
    return LLParserLimits(
        initial_lexer_fuel=500_000,
        step_lexer_fuel=200_000,
        step_max_items=50_000 if is_schema else 20_000,
        max_items_in_row=2_000 if is_schema else 500,
        max_lexer_states=50_000,
        max_grammar_size=100_000,
        verbose_errors=False,
    )


class GrammarCompiler:
    """Compiles forms for one vocabulary; any thread may call it.

    Args:
        tokenizer: The vocabulary, from :func:`engine.grammar.tokenizer.tokenizer_of`.

    Example:
        >>> compiler = GrammarCompiler(tokenizer)  # doctest: +SKIP
        >>> matcher = compiler.compile(Form("choice", '["yes", "no"]'))  # doctest: +SKIP
    """

    def __init__(self, tokenizer: LLTokenizer) -> None:
        self._tokenizer = tokenizer
        self._limits = {is_schema: _limits(is_schema=is_schema) for is_schema in (True, False)}
        self._lock = threading.Lock()
        self._cached: OrderedDict[Form, Matcher] = OrderedDict()
        self._n_bytes = 0

    def is_cached(self, form: Form) -> bool:
        """Return True if :meth:`compile` takes some 20 microseconds."""
        found = self._cached.get(form)
        return found is not None and not found.is_worn

    def compile(self, form: Form) -> Matcher:
        """Return a matcher at the beginning of an answer.

        Compiling takes milliseconds, and up to two seconds; other threads go on meanwhile.

        Raises:
            GrammarError: The form is wrong, too large, not supported, or no answer can have it.
        """
        with self._lock:
            found = self._cached.get(form)
            if found is not None and not found.is_worn:
                self._cached.move_to_end(form)
                return found.copy()
        matcher = self._compiled(form)
        with self._lock:
            self._keep(form, matcher)
        return matcher.copy()

    def _keep(self, form: Form, matcher: Matcher) -> None:
        if form not in self._cached:
            self._n_bytes += len(form.text)
        self._cached[form] = matcher
        self._cached.move_to_end(form)
        while len(self._cached) > _MAX_CACHED or self._n_bytes > _MAX_CACHED_BYTES:
            oldest, _ = self._cached.popitem(last=False)
            self._n_bytes -= len(oldest.text)

    def _compiled(self, form: Form) -> Matcher:
        if len(form.text.encode(errors="replace")) > _MAX_BYTES:
            raise GrammarError(f"The text of a form may have at most {_MAX_BYTES} bytes.")
        grammar = grammar_of(form)
        limits = self._limits[form.kind == "json_schema"]
        raw = LLMatcher(self._tokenizer, grammar, log_level=0, limits=limits)
        if not raw.is_error():
            first = raw.deep_copy()  # what no answer can have shows in the first mask only
            mask = np.zeros((self._tokenizer.vocab_size + 31) // 32, np.uint32)
            first.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
            if not first.is_error():
                return Matcher(raw)
            raw = first
        raise explained(form, grammar, raw.get_error())


def grammar_of(form: Form) -> str:
    r"""Return a form in the library's words.

    Raises:
        GrammarError: The form is wrong, too large, or not supported.

    Example:
        >>> from engine.grammar.form import Form
        >>> grammar_of(Form("choice", '["yes", "no"]'))
        'start: C\nC: "yes" | "no"'
    """
    match form.kind:
        case "json_schema":
            schema = json.loads(prepared(form.text)) | {"x-guidance": _JSON}
            return json.dumps({"grammars": [{"json_schema": schema}]})
        case "regex":
            _check_text(form.text)
            return LLMatcher.grammar_from_regex(form.text)
        case "choice":
            return _choice(parsed(form.text))
        case "lark":
            _check_text(form.text)
            return checked_lark(form.text, _JSON)
        case "gbnf":
            _check_text(form.text)
            return checked_lark(gbnf_to_lark(form.text), _JSON)


def _choice(choices: Any) -> str:
    """Return a grammar of one terminal, which may go on where a shorter choice ends."""
    if not isinstance(choices, list) or not choices or not all(isinstance(text, str) for text in choices):
        raise GrammarError("A choice must be a list of one or more strings.")
    return "start: C\nC: " + " | ".join(
        json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f") for text in choices
    )


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise GrammarError("The text has half of a surrogate pair.") from None
