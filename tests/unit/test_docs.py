import re
from pathlib import Path

import typer
from typer.main import get_command

from services.cli.app import app
from services.ingest.limits import window
from services.platform.http.errors import KINDS
from tests.support.results import matrix

DOCS = Path(__file__).parents[2] / "docs"


def test_every_error_code_is_documented_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert {code: int(status) for status, code in rows} == {code: kind.status for code, kind in KINDS.items()}


def test_every_reason_of_a_dead_letter_is_documented() -> None:
    source = "".join(file.read_text() for file in (DOCS.parent / "services").rglob("*.py"))
    given = set(re.findall(r'(?:DeadLetter\(|Outcome\.DEAD,)\s*"(\w+)"', source))
    assert given > {"damaged", "refused"}
    reasons = set(re.findall(r"^- `(\w+)`: ", _section("api.md", "A dead letter is", "| route"), re.MULTILINE))
    # The ledger's word for a refusal that somebody put there by hand; no letter has it.
    assert reasons == given - {"unknown"}
    assert "`unknown`" in _section("api.md", "| `dead` |", "\n")
    assert set(re.findall(r"`(\w+)`", _section("contract.md", "| `reason` | a code:", "\n"))) == reasons
    assert set(_section("../services/cli/dead_letters.py", '_REASONS = "', '"\n').split(", ")) == reasons


def test_every_fault_of_a_reading_is_documented() -> None:
    folder = DOCS.parent / "services"
    contract = [folder / "contract" / name for name in ("instants.py", "series.py")]
    source = "".join(file.read_text() for file in [*folder.glob("ingest/**/*.py"), *contract])
    table = (DOCS / "api.md").read_text().partition("### Faults of readings")[2]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    documented = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    assert documented == set(
        re.findall(r'(?:return |(?:Fault|SeriesError)\([\w.(), ]*(?:"\w+", )?)"(\w+)", f?"', source)
    )


def test_the_delay_after_a_change_of_retention_is_documented() -> None:
    said = _section("api.md", "- `timestamp`: an", "- `value`")
    assert f"every {window._INTERVAL:g} seconds" in said


def _section(page: str, start: str, end: str) -> str:
    """Return what stands on a page between two texts."""
    return (DOCS / page).read_text().partition(start)[2].partition(end)[0]


def test_every_metric_is_documented_and_none_is_made_elsewhere() -> None:
    home = DOCS.parent / "services/platform/runtime/metrics.py"
    names = set(re.findall(r'"(millrace_\w+)"', home.read_text()))
    rows = (DOCS / "reference" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(\w+?)(?:_total)?` \|", rows, re.MULTILINE))
    assert len(names) > 30
    makers = re.compile(r"get_meter\(|\.create_\w*(counter|gauge|histogram)\(|\bGauge\(")
    others = [file for file in home.parents[2].rglob("*.py") if file != home and makers.search(file.read_text())]
    assert others == []
    assert documented == names


def test_every_command_in_a_document_is_one() -> None:
    """What starts a workload is `millrace run` and its name."""
    run = get_command(app)
    assert isinstance(run, typer.core.TyperGroup)
    known = set(run.commands)
    pages = [
        *DOCS.parent.glob("*.md"),
        *(
            page
            for folder in ("docs", "benchmarks", "charts", "k8s", "sql")
            for page in (DOCS.parent / folder).rglob("*.md")
        ),
    ]
    named = {
        (page.name, word)
        for page in pages
        for word in re.findall(r"(?:^|`|\$ |bin/)millrace ([a-z][\w-]*)", page.read_text(), re.MULTILINE)
    }
    assert len(named) > 10
    assert {(page, word) for page, word in named if word not in known} == set()


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_fault_is_shown_by_a_test_and_every_row_is_told() -> None:
    assert {row for row, _, _ in matrix()} == set(range(1, 57))
    assert [row for row, _, shown in matrix() if not shown] == []
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "reliability.md").read_text()))
    sources = "".join(file.read_text() for file in (DOCS.parent / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)", sources))
    assert named - there == set()
    assert {name for name in there if name.startswith("test_row_")} - named - {
        "test_row_07_the_cut_takes_what_only_everysec_had_promised"
    } == set()
