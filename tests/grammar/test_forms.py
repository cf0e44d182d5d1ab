"""Each kind of form takes what it says, and nothing else."""

from __future__ import annotations

import json

import jsonschema
import pytest

from engine.grammar.form import Form, GrammarError
from tests.grammar.walks import END, SPECIAL, accepts, allowed, compiler, tokenize

JSON_GBNF = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array ::= "[" ws ( value ("," ws value)* )? "]" ws   # nested groups go on over lines
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4})
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
CHESS_GBNF = r"""
root ::= (
    # the first move has the number one
    "1. " move " " move "\n"
    ([1-9] [0-9]? ". " move " " move "\n")+
)
move ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn    ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle  ::= "O-O" "-O"?
"""
ARITHMETIC_GBNF = r"""
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""
LIST_GBNF = 'root ::= item+\nitem ::= "- " [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ "\\n"\n'
C_GBNF = r"""
root ::= (declaration)*
declaration ::= type identifier "(" parameter? ")" "{" statement* "}"
type ::= "int" ws | "float" ws | "char" ws
identifier ::= [a-zA-Z_] [a-zA-Z_0-9]*
parameter ::= type identifier
statement ::= identifier ws "=" ws expression ";" | "return" ws expression ";"
expression ::= term (("+" | "-") term)*
term ::= identifier | [0-9]+
ws ::= ([ \t\n]+)
"""
GBNF = [
    (JSON_GBNF, ['{"a": [1, -2.5e1, true], "b\\n": {"c": null}}', "{}"], ["[1]", '{"a" 1}', "{"]),
    (CHESS_GBNF, ["1. e4 e5\n2. Nf3 Nc6\n3. O-O-O exd5+\n"], ["1. e4 e5\n", "2. e4 e5\n"]),
    (ARITHMETIC_GBNF, ["a=1\n", "(b0-2)*c =d\nx=0\n"], ["=1", "a=b"]),
    (LIST_GBNF, ["- one\n- zwei é\n"], ["- \n", "one\n"]),
    (C_GBNF, ["int main(char c){x = y+1;return x;}"], ["int (){}", "double f(){}"]),
    (r'root ::= [a-z]* "ab"', ["abab", "ab"], ["aba"]),  # no greedy terminals
    (r'root ::= "a" "bc" | "ab" "d"', ["abc", "abd"], ["ab"]),
    ("root ::= .", ["\n", "天"], [""]),
    (r'root ::= "\u00e9\U0001F600\x41\[\]\\\"\t"', ['é😀A[]\\"\t'], []),
    (r"root ::= [\u00e0-\u00ff] [^a-c\]] [a&&b] [[x] [+-] [-a]", ["ézb[+-", "àé&x-a"], ["éab[+-"]),
    ('root ::= "ab"{2} "c"{1,} "d"{0,2} "e"*?', ["ababc", "ababccddee"], ["abc", "ababcddd"]),
    ('root ::= a-b\na-b ::= "x" |\n  # a comment\n  start\nstart ::= ("y"?)+', ["x", "", "yy"], ["xy"]),
]


@pytest.mark.parametrize(("grammar", "texts", "others"), GBNF)
def test_gbnf_means_what_llama_cpp_makes_of_it(grammar: str, texts: list[str], others: list[str]) -> None:
    matcher = compiler().compile(Form("gbnf", grammar))
    assert [text for text in texts if not accepts(matcher, text)] == []
    assert [text for text in others if accepts(matcher, text)] == []


CHOICES = [
    "yes",
    "no",
    "no way",
    'a"b',
    "back\\slash",
    "two\nlines",
    "天é😀\u2028",
    "",
    "\x7f\0\x1f",
    "i",
    "a" * 500,
]


@pytest.mark.parametrize("text", CHOICES)
def test_a_choice_takes_exactly_its_strings(text: str) -> None:
    matcher = compiler().compile(Form("choice", json.dumps(CHOICES)))
    assert accepts(matcher, text)
    assert not accepts(matcher, text + "!")


def test_a_choice_may_have_thousands_of_strings() -> None:
    matcher = compiler().compile(Form("choice", json.dumps([f"item {i}" for i in range(4000)])))
    assert accepts(matcher, "item 3999")
    assert not accepts(matcher, "item 4000")


def test_a_choice_that_begins_another_may_end_or_go_on() -> None:
    matcher = compiler().compile(Form("choice", '["no", "no way"]'))
    for token in tokenize("no"):
        matcher.take(token)
    assert matcher.may_end
    assert not matcher.is_done
    assert END in allowed(matcher)
    for token in tokenize(" way"):
        matcher.take(token)
    assert matcher.is_done
    assert allowed(matcher).tolist() == [END]


@pytest.mark.parametrize(
    ("kind", "form", "texts", "others"),
    [
        ("regex", "[0-9]{2,3}|a/b", ["12", "123", "a/b"], ["1", "1234", "12\n"]),
        ("regex", "", [""], ["a"]),
        ("regex", "(?i)yes", ["yes", "YES"], ["no"]),
        ("lark", 'start: "a" ["b"] // x\n  | "c"~2..3', ["a", "ab", "cc"], ["c", "b"]),
        ("lark", '%import common.INT\nstart: INT /\\//\n%ignore " "', ["12 /"], ["/"]),
        (
            "lark",
            '%llguidance {}\nstart: %json {"type": "array", "items": {"const": 1}} "!"',
            ["[1, 1]!"],
            ["[1,1]!"],
        ),
        ("json_schema", "true", ['{"a": [1, null]}', "1.5e3"], ["{", '{"a":1}', " 1"]),
        ("json_schema", '{"not": {"type": ["object", "array"]}}', ["1", '"a"'], ["{}", "[]"]),
        ("json_schema", '{"not": {"not": {"const": "a"}}}', ['"a"'], ['"b"']),
        ("json_schema", '{"type": "array", "uniqueItems": true, "maxItems": 1}', ["[]", "[1]"], ["[1, 1]"]),
        ("json_schema", '{"$schema": "http://json-schema.org/draft-04/schema#", "const": 3}', ["3"], ["4"]),
        (
            "json_schema",
            '{"type": "integer", "maximum": 9223372036854775807}',
            ["0", "-5"],
            ["9223372036854775808"],
        ),
        ("json_schema", '{"type": "number", "maximum": 1.7976931348623157e308}', ["1.5", "-2"], []),
        ("json_schema", '{"type": "string", "pattern": "^[[&a]{3}$"}', ['"[&a"'], ['"[[b"']),
        ("json_schema", '{"type": "string", "pattern": "^[^\\\\W_]{2}$"}', ['"a1"'], ['"a_"', '"é1"']),
        (
            "json_schema",
            '{"items": [{"const": 1}], "type": "array", "enum": [[1], [1, 2]], "additionalItems": false}',
            ["[1]"],
            ["[1, 2]"],
        ),
    ],
)
def test_a_form_takes_what_it_says(kind: str, form: str, texts: list[str], others: list[str]) -> None:
    matcher = compiler().compile(Form(kind, form))  # type: ignore[arg-type]
    assert [text for text in texts if not accepts(matcher, text)] == []
    assert [text for text in others if accepts(matcher, text)] == []


def test_the_name_of_a_property_has_one_spelling() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = Form("json_schema", json.dumps(schema | {"additionalProperties": {"type": "string"}}))
    matcher = compiler().compile(form)
    assert accepts(matcher, '{"a": 1, "b": "x"}')
    assert not accepts(matcher, '{"a": 1, "\\u0061": "x"}')
    assert not accepts(matcher, '{"a": 1, "a": "x"}')


@pytest.mark.parametrize("low", [None, -1.25, -1, -0.5, 0, 1, 2])
@pytest.mark.parametrize("high", [None, -1, 0, 0.5, 1.25, 2, 10])
@pytest.mark.parametrize("exclusive", [(False, False), (True, False), (False, True), (True, True)])
def test_a_number_keeps_to_its_limits(
    low: float | None, high: float | None, exclusive: tuple[bool, bool]
) -> None:
    words = [
        "exclusiveMinimum" if exclusive[0] else "minimum",
        "exclusiveMaximum" if exclusive[1] else "maximum",
    ]
    limits = {word: limit for word, limit in zip(words, (low, high), strict=True) if limit is not None}
    if low is not None and high is not None and (low > high or (low == high and any(exclusive))):
        return
    matcher = compiler().compile(Form("json_schema", json.dumps({"type": "number"} | limits)))
    validator = jsonschema.Draft202012Validator(limits)
    whole = [f"{sign}{number}" for sign in ("", "-") for number in ("0", "1", "2", "10", "1000")]
    for text in [*whole, *(f"{each}{end}" for each in whole for end in (".0", ".00", ".25", ".5", ".001"))]:
        valid = validator.is_valid(json.loads(text))
        if "." in text and not text.endswith("0"):
            assert accepts(matcher, text) == valid
        else:  # zeros at the end, and behind a minus, are not always written
            assert valid or not accepts(matcher, text)


def test_keys_come_in_the_order_of_the_schema() -> None:
    matcher = compiler().compile(Form("json_schema", '{"properties": {"b": {}, "a": {}}, "type": "object"}'))
    assert accepts(matcher, '{"b": 1, "a": 2}')
    assert not accepts(matcher, '{"a": 2, "b": 1}')


def test_special_tokens_are_no_text() -> None:
    matcher = compiler().compile(Form("regex", "(?s:.*)"))
    tokens = allowed(matcher)
    assert SPECIAL not in tokens
    assert END in tokens
    with pytest.raises(GrammarError, match="does not fit"):
        matcher.take(SPECIAL)


def test_a_matcher_tells_what_is_forced() -> None:
    schema = '{"type": "object", "properties": {"name": {"enum": ["Ann", "Bob"]}}, "required": ["name"]}'
    matcher = compiler().compile(Form("json_schema", schema + " "))
    forced = matcher.forced()
    assert b"".join(bytes([token]) for token in forced[:6]) == b'{"name'
    assert allowed(matcher).tolist() == forced[:1]
    copy = matcher.copy()
    copy.take(forced[0])
    assert matcher.forced() == forced
    assert copy.forced() == forced[1:]


def test_a_matcher_is_wrong_behind_a_wrong_token() -> None:
    matcher = compiler().compile(Form("regex", "[0-9]+"))
    with pytest.raises(GrammarError, match="The token does not fit the form"):
        matcher.take(ord("a"))
    with pytest.raises(GrammarError):
        matcher.check()
    assert not matcher.may_end
    assert not matcher.is_worn
