"""The site is built without a warning, links and anchors included, and asks no other host."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import ROOT

LOADED = re.compile(r"""<(?:script|link|img|iframe|source)[^>]*?(?:src|href)=["']?(?:https?:)?//[^>]*>""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    variables = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    # Not by --quiet: it keeps warnings from being counted.
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_no_page_of_the_site_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert [found[0] for page in pages for found in LOADED.finditer(page.read_text())] == []
    styles = [style.read_text() for style in site.rglob("*.css")]
    assert styles
    assert [found for style in styles for found in re.findall(r"url\(['\"]?https?:[^)]*\)|@import[^;]*", style)] == []


def test_links_out_of_docs_lead_to_pages_and_files_of_the_site(site: Path) -> None:
    assert 'href="../index.html#try-it"' in (site / "start" / "own-data.html").read_text()
    assert 'href="k8s.html#rebuilds"' in (site / "operator.html").read_text()
    served = (site / "files" / "monitoring" / "alarms.yaml").read_text()
    assert served == (ROOT / "monitoring" / "alarms.yaml").read_text()


def test_code_in_a_table_is_shown_without_the_backslashes_that_tables_need(site: Path) -> None:
    shown = [re.sub(r"<pre.*?</pre>", "", page.read_text(), flags=re.DOTALL) for page in site.rglob("*.html")]
    assert any("sensor_id|match" in page for page in shown)
    assert [found for page in shown for found in re.findall(r"<code>[^<]*\\\|[^<]*</code>", page)] == []


def test_a_page_has_lists_where_its_text_has_some(site: Path) -> None:
    """Python's Markdown wants an empty line before a list; without one it is prose with dashes."""
    for page in site.rglob("*.html"):
        text = re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL)
        assert re.findall(r"<p>[^<]*\n(?:- |\* |\d+\. )[^<]{0,60}", text) == [], page.name
