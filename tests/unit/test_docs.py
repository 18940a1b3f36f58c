import re
from pathlib import Path

from services.platform.errors import KINDS
from tests.support.results import matrix

DOCS = Path(__file__).parents[2] / "docs"


def test_every_error_code_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert {code: int(status) for status, code in rows} == {code: kind.status for code, kind in KINDS.items()}


def test_every_metric_is_documented() -> None:
    source = (DOCS.parent / "services/platform/metrics.py").read_text()
    names = set(re.findall(r'"(millrace_\w+)"', source))
    documented = (DOCS / "operations.md").read_text()
    assert len(names) > 15
    assert [name for name in names if name not in documented and f"`_{name.rsplit('_', 1)[1]}`" not in documented] == []


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_fault_is_shown_by_a_test_and_every_row_is_told() -> None:
    assert {row for row, _, _ in matrix()} == set(range(1, 39))
    assert [row for row, _, shown in matrix() if not shown] == []
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "reliability.md").read_text()))
    sources = "".join(file.read_text() for file in (DOCS.parent / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)", sources))
    assert named - there == set()
    assert {name for name in there if name.startswith("test_row_")} - named - {
        "test_row_07_the_cut_takes_what_only_everysec_had_promised"
    } == set()
