"""How the templates are written, which no rendering shows."""

import re
from collections.abc import Iterator

from tests.support.chart import CHART

TEMPLATES = {path.name: path.read_text() for path in sorted((CHART / "templates").rglob("*.*")) if path.is_file()}
HELPER = re.compile(r'(?:\{\{-? ?/\*(?P<words>(?:(?!\*/).)*)\*/ ?-?\}\}\n)?\{\{-? define "(?P<name>[^"]+)"', re.DOTALL)
OF_THE_ROOT = re.compile(r"(?<![\w)])\.(Values|Release|Chart|Files|Capabilities)\b")


def helpers() -> Iterator[tuple[str, str, str]]:
    """Yield name, documentation and body of each named template."""
    for text in TEMPLATES.values():
        found = list(HELPER.finditer(text))
        ends = [*(one.start() for one in found[1:]), len(text)]
        for one, end in zip(found, ends, strict=False):
            yield one["name"], one["words"] or "", text[one.end() : end]


def test_helpers_stand_in_files_of_their_own() -> None:
    homes = {name for name, text in TEMPLATES.items() if "define " in text}
    assert homes
    assert all(name.startswith("_") for name in homes), homes


def test_a_helper_takes_the_arguments_that_it_documents() -> None:
    by_list = {name: "(list root" in words for name, words, _ in helpers()}
    assert True in by_list.values()
    assert False in by_list.values()
    for name, _, body in helpers():
        takes_list = re.search(r'index \. 0|rest \.|include "millrace\.(selector|metadata)" \.', body) is not None
        assert takes_list is by_list[name], name
        if by_list[name]:
            assert not OF_THE_ROOT.search(body), f"{name} is given a list and reads it as the root"


def test_helpers_are_called_with_what_they_take() -> None:
    by_list = {name: "(list root" in words for name, words, _ in helpers()}
    for text in TEMPLATES.values():
        for name, given in re.findall(r'include "([^"]+)" (\([^ ]+|[^ )]+)', text):
            if not by_list[name]:
                assert given != "(list", name
            else:
                assert given in {"(list", "$component", "."}, name


def test_nothing_rendered_is_edited_as_text() -> None:
    for name, text in TEMPLATES.items():
        assert not re.search(r"(include|toYaml)[^|{}]*\|[^{}]*\breplace\b", text), name
