"""What `match` may say becomes a glob or a selector, or is refused with its place and its fix."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.query.catalogue.patterns import Pattern, glob, regular_expression
from services.query.catalogue.selector import Glob, Matcher, Selector, SelectorError, parse, parse_all

CHARACTERS = "ab.%_\\*?{}[]()|^$+\nä\ud7ff\ue000\U0010ffff"


def test_a_text_is_a_glob_unless_a_brace_opens_in_it() -> None:
    for text in ["boiler-*", "sensor-1", "a}b", r"a\{b", r"\\", " "]:
        assert isinstance(parse(text), Glob)
    for text in ["a{}", "{}", 'a{b="c"}', " {}", '{"a b"}', r'a{b="\\"}']:
        assert isinstance(parse(text), Selector)


def test_selectors_are_read_as_prometheus_reads_them() -> None:
    found = parse("""cpu.load { site = "a\\"b\\u00e4\\n" , 'q r'!='it\\'s',third=~`x[0-9]`, fourth!~"y\\\\.",}""")
    assert isinstance(found, Selector)
    shown = [(each.label, each.value if isinstance(each.value, str) else each.value.text, each.negated)
             for each in found.matchers]  # fmt: skip
    assert shown == [
        ("__name__", "cpu.load", False),
        ("site", 'a"bä\n', False),
        ("q r", "it's", True),
        ("third", "x[0-9]", False),
        ("fourth", "y\\.", True),
    ]
    assert parse('{"http.requests"}') == Selector((Matcher("__name__", "http.requests", negated=False),))


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("cpu{", 5, "name of a label"),
        ("cpu{site", 9, "one of =, !=, =~ and !~"),
        ("cpu{site=", 10, "a value in quotes"),
        ("cpu{site=north}", 10, "a value in quotes"),
        ('cpu{site="north', 10, "not closed"),
        ('cpu{site="north" room="2"}', 18, "a , or the }"),
        ('cpu{site="north"', 17, "a , or the }"),
        ('cpu{site="a"}}', 14, "nothing may stand behind"),
        ("cp*{}", 3, "__name__=~"),
        ("a b{}", 3, "a { belongs here"),
        ('{a=~"("}', 5, "missing )"),
        ('{a!~"(?=b)"}', 5, "RE2"),
        (r'{a="x\.y"}', 6, r"\\"),
        (r'{a="\ud800"}', 5, "no escape"),
        (r'{a="\u0000"}', 5, "no escape"),
        ('{""="x"}', 2, "not empty"),
        ('{a=~"' + "x{900}" * 99 + '"}', 5, "too large"),
        ("{" + ",".join(f'l{n}="x"' for n in range(65)) + "}", None, "at most 64"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_its_fix(text: str, place: int | None, message: str) -> None:
    with pytest.raises(SelectorError, match=re.escape(message)) as caught:
        parse(text)
    if place is not None:
        assert f" at position {place}" in str(caught.value)


def test_what_is_too_much_is_refused() -> None:
    for texts, message in [(["a"] * 33, "32"), (["x" * 16_385], "16384"), ([""], "* chooses all"), (["a\0"], "NUL")]:
        with pytest.raises(SelectorError, match=re.escape(message)):
            parse_all(texts)
    with pytest.raises(SelectorError, match="takes nothing"):
        parse("a\\")


@given(st.lists(st.sampled_from([*"{}=!~,\"'`\\ab*?\n", "=~", '"x"']), max_size=30).map("".join))
def test_every_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except SelectorError as error:
        assert str(error)


def like(pattern: str) -> re.Pattern[str]:
    """Return SQL's LIKE as Python's expression."""
    parts = re.findall(r"\\(.)|(%)|(_)|(.)", pattern, re.DOTALL)
    return re.compile("".join(".*" if many else "." if one else re.escape(taken or plain)
                              for taken, many, one, plain in parts), re.DOTALL)  # fmt: skip


@given(st.text(st.sampled_from("ab\\*?%_{\n"), max_size=6), st.text(st.sampled_from("ab\\*?%_{\n"), max_size=6))
def test_a_glob_fits_what_its_characters_say(text: str, other: str) -> None:
    escaped = re.sub(r"\\$", "", text)
    meant = re.sub(r"\\(.)|(\*)|(\?)|([^*?\\])",
                   lambda part: ".*" if part[2] else "." if part[3] else re.escape(part[1] or part[4]), escaped,
                   flags=re.DOTALL) if not escaped.endswith("\\") else None  # fmt: skip
    if meant is None:
        return
    fits = re.fullmatch(meant, other, re.DOTALL) is not None
    assert (like(glob(escaped).like).fullmatch(other) is not None) == fits


@given(st.text(st.sampled_from(CHARACTERS), max_size=5), st.text(st.sampled_from(CHARACTERS), max_size=8))
def test_what_fits_a_pattern_lies_between_its_bounds(start: str, text: str) -> None:
    bounds = Pattern.of([*start]).bounds
    assert (bounds is None) == (start == "")
    if bounds is not None:
        low, high = bounds
        within = low.encode("utf-8", "surrogatepass") <= text.encode() and (
            high is None or text.encode() < high.encode()
        )
        assert within == text.startswith(start)


@given(
    st.lists(
        st.sampled_from(["a", "b", ".", ".*", ".+", "|", r"\.", r"\|", "\n", "ä", "^", "a*", "[ab]", "(a)"]), max_size=6
    ),
    st.text(st.sampled_from("ab.|\nä"), max_size=5),
)
def test_an_expression_of_texts_and_wild_cards_fits_what_re2_says(parts: list[str], text: str) -> None:
    for shown in ("".join(parts), f"({''.join(parts)})", f"(?:{''.join(parts)})"):
        expression = regular_expression(shown)
        assert expression.fits(text) == (re.fullmatch(shown, text, re.DOTALL) is not None)
        if expression.patterns is not None:
            fits = any(like(pattern.like).fullmatch(text) is not None for pattern in expression.patterns)
            assert fits == expression.fits(text)


def test_expressions_are_simple_where_people_write_lists_and_beginnings() -> None:
    for text, simple in [
        ("a|b", True),
        ("a.*", True),
        (r"(10\.0\.0\.1|b)", True),
        ("", True),
        ("a[0-9]", False),
        ("a{2}", False),
    ]:
        assert (regular_expression(text).patterns is not None) == simple
