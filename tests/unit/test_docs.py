import re
from pathlib import Path

from services.platform.errors import KINDS

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
