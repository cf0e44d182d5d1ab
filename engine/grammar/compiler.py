"""Forms to matchers, with those compiled last at hand."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from llguidance import LLMatcher, LLParserLimits
from llguidance.gbnf_to_lark import gbnf_to_lark

from engine.grammar.form import GrammarError
from engine.grammar.matcher import Matcher

if TYPE_CHECKING:
    from llguidance import LLTokenizer
    from llguidance._lib import JsonCompileOptions

    from engine.grammar.form import Form

_JSON: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
    "coerce_one_of": False,
}


class GrammarCompiler:
    """Compiles forms for one vocabulary; any thread may call it."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        self._tokenizer = tokenizer
        self._limits = LLParserLimits(verbose_errors=False)
        self._lock = threading.Lock()
        self._cached: OrderedDict[Form, Matcher] = OrderedDict()

    def is_cached(self, form: Form) -> bool:
        """Return True if the form's matcher costs next to nothing."""
        return form in self._cached

    def compile(self, form: Form) -> Matcher:
        """Return a matcher at the beginning of an answer.

        Raises:
            GrammarError: The form is wrong, too large, or not supported.
        """
        with self._lock:
            found = self._cached.get(form)
            if found is not None:
                self._cached.move_to_end(form)
                return found.copy()
        raw = LLMatcher(self._tokenizer, _grammar(form), log_level=0, limits=self._limits)
        if raw.is_error():
            raise GrammarError(raw.get_error().removesuffix("\n<non-verbose/>"))
        matcher = Matcher(raw)
        with self._lock:
            self._cached[form] = matcher
            while len(self._cached) > 64:
                self._cached.popitem(last=False)
        return matcher.copy()


def _grammar(form: Form) -> str:
    match form.kind:
        case "json_schema":
            return LLMatcher.grammar_from_json_schema(form.text, overrides=_JSON)
        case "regex":
            return LLMatcher.grammar_from_regex(form.text)
        case "choice":
            return "start: " + " | ".join(json.dumps(text) for text in json.loads(form.text))
        case "lark":
            return LLMatcher.grammar_from_lark(form.text)
        case "gbnf":
            return gbnf_to_lark(form.text)
