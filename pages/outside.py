"""A hook of MkDocs: pages and files that stand outside of docs/, and the links that lead there.

Links in Markdown are those of the repository, so that it can be read without the site. Here they get the places that
the site has for the same files; and code in tables is written as Python's Markdown reads it.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "charts/millrace/README.md": "reference/chart.md",
    "clients/python/README.md": "clients/python.md",
    "k8s/README.md": "k8s.md",
}
"""Pages outside of docs/, with their places in the site. Any other file that a page links to is served as it is."""

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)")
_IN_TABLE = re.compile(r"(?<=\| )`[^`\n]*\\\|[^`\n]*`")
"""Code with a bar at the beginning of a cell: elsewhere the bar has a backslash, which Python's Markdown would show."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what stands outside of docs/ to the site's files."""
    for path, place in PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    linked = {target for file in files.documentation_pages() for target in _linked(_source(file))}
    there = {_source(file) for file in files}
    for target in sorted(linked - there):
        if target.is_file() and target.is_relative_to(ROOT):
            place = f"files/{target.relative_to(ROOT).as_posix()}"
            files.append(File.generated(config, place, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 -- MkDocs'
    """Return a page whose links lead to the places that the site has for their targets."""
    places = {_source(file): file.src_uri for file in files}
    folder = _source(page.file).parent

    def placed(link: re.Match[str]) -> str:
        place = places.get(_target(folder, link[1]))
        return posixpath.relpath(place, posixpath.dirname(page.file.src_uri)) if place else link[1]

    return _IN_TABLE.sub(lambda code: code[0].replace("\\|", "|"), _LINK.sub(placed, markdown))


def _linked(page: Path) -> Iterator[Path]:
    return (_target(page.parent, link) for link in _LINK.findall(page.read_text()))


def _target(folder: Path, link: str) -> Path:
    """Return the file that a link in a folder means: of a folder its README, or that of the nearest one above."""
    target = (folder / link).resolve()
    if target.is_dir():
        return next(
            (above / "README.md" for above in (target, *target.parents) if (above / "README.md").exists()), target
        )
    return target


def _source(file: File) -> Path:
    return Path(file.abs_src_path or file.src_uri).resolve()
