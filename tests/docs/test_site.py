"""The site of the documentation: built strictly, with every page, and no link leads nowhere."""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from doc_pages import ROOT
from installing import NoUvError, uv
from site_pages import lay_out

ZENSICAL = Path(sys.executable).with_name("zensical")
CONFIGURATION = ROOT / "mkdocs.yml"
MKDOCS = ("tool", "run", "mkdocs@1.6.1")


class Page(HTMLParser):
    """What a page leads to, and what can be led to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        for name in ("href", "src"):
            if name in given and tag in {"a", "img", "link", "script"}:
                self.links.add(given[name])


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of the folder's pages, as `make docs` does."""
    shutil.copy(CONFIGURATION, folder)
    return subprocess.run(
        [ZENSICAL, "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """Build it, and return {path: page}."""
    folder = tmp_path_factory.mktemp("site")
    lay_out(ROOT, folder / "site" / "pages")
    built = build(folder)
    assert built.returncode == 0, built.stdout + built.stderr
    made = folder / "site" / "html"
    pages = {
        file.relative_to(made).as_posix(): file
        for file in made.rglob("*")
        if file.is_file() and file.name != "404.html"
    }
    return {
        path: Page(file.read_text() if file.suffix == ".html" else "")
        for path, file in pages.items()
    }


def test_links_of_the_site_lead_somewhere(site: dict[str, Page]) -> None:
    lost = [
        f"{path}: {link}"
        for path, page in site.items()
        for link in page.links
        if is_lost(link, path, site)
    ]
    assert lost == []
    assert len([path for path in site if path.startswith("docs/adr/00")]) >= 18


def test_link_that_leads_nowhere_would_be_noticed(site: dict[str, Page]) -> None:
    assert not is_lost("docs/start/#next", "index.html", site)
    assert is_lost("docs/begin/", "index.html", site)
    assert is_lost("../jobs/#no-such-heading", "docs/start/index.html", site)


def is_lost(link: str, path: str, site: dict[str, Page]) -> bool:
    """Say whether a link leads nowhere; those that leave the site are not followed."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = path
    if parts.path:
        # as a browser does: up from the page's own folder, which ends in no file name
        place = (Path("/", path).parent / unquote(parts.path)).resolve().as_posix().lstrip("/")
        target = place if place in site else f"{place}/index.html".lstrip("/")
    return target not in site or (
        target.endswith(".html") and unquote(parts.fragment) not in site[target].anchors
    )


@pytest.mark.long
@pytest.mark.timeout(300)
def test_mkdocs_reads_the_same_pages_strictly(tmp_path: Path) -> None:
    try:
        uv(*MKDOCS, "--version")
    except (NoUvError, RuntimeError) as error:
        pytest.skip(f"no MkDocs: {error}")
    lay_out(ROOT, tmp_path / "site" / "pages")
    shutil.copy(CONFIGURATION, tmp_path)
    uv(*MKDOCS, "build", "--strict", folder=tmp_path)
    assert (tmp_path / "site" / "html" / "docs" / "start" / "index.html").exists()


def test_navigation_names_every_page_once() -> None:
    named = sorted(leaves(yaml.safe_load(CONFIGURATION.read_text())["nav"]))
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert named == sorted(page.relative_to(ROOT).as_posix() for page in pages)


def leaves(nav: Any) -> list[str]:
    """Return the pages of a navigation."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [leaf for each in inner for leaf in leaves(each)]


def test_link_to_a_page_that_is_not_there_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# A\n\n[b](docs/b.md)\n")
    with pytest.raises(FileNotFoundError):
        lay_out(tmp_path, tmp_path / "site" / "pages")
    lay_out_by_hand = tmp_path / "site" / "pages"
    lay_out_by_hand.mkdir(parents=True)
    shutil.copy(tmp_path / "README.md", lay_out_by_hand)
    assert build(tmp_path).returncode != 0
