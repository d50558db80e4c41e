"""Site pages: lay out what the documentation's site is built from; `make docs` builds it.

On GitHub the pages lead to files and folders of the repository. The site has those, too: every
Markdown file that is led to becomes a page where it stands, every other file a page that shows it,
every folder a page that lists it, or its README. So each link leads somewhere on the site as it
does on GitHub, wherever the repository is.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "site" / "pages"
"""As mkdocs.yml says."""

FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()([^)\s#]+)((?:#[^)\s]*)?)(?=\))")
PICTURES = {".png", ".svg"}
LANGUAGES = {".py": "python", ".yml": "yaml", ".js": "javascript", ".css": "css", ".go": "go"}
PRIVATE = {"__pycache__", "node_modules"}


class Layout:
    """The pages, by their paths within the site, and what is yet to be looked at."""

    def __init__(self, root: Path) -> None:
        """Begin with the README and everything in docs."""
        self.root = root
        self.texts: dict[str, str] = {}
        self.pictures: set[str] = set()
        self._waiting = ["README.md"]
        self._waiting += [self._name(page) for page in sorted((root / "docs").rglob("*.md"))]

    def follow(self) -> None:
        """Make all pages, and those that they lead to."""
        while self._waiting:
            page = self._waiting.pop()
            if page not in self.texts:
                self.texts[page] = self._text(page)

    def _text(self, page: str) -> str:
        file = self.root / page
        if file.is_file():
            return self._relinked(page, file.read_text())
        if page.endswith("/index.md"):
            return self._listing(file.parent)
        return _shown(file.with_suffix(""), page)

    def _relinked(self, page: str, text: str) -> str:
        """Have each link lead to a page."""
        parts = FENCED.split(text)
        parts[::2] = [LINK.sub(self._replacement(page), part) for part in parts[::2]]
        return "".join(parts)

    def _replacement(self, page: str) -> Callable[[re.Match[str]], str]:
        folder = (self.root / page).parent

        def replacement(link: re.Match[str]) -> str:
            if "://" in link[1] or link[1].startswith("mailto:"):
                return link[0]
            target = self._page_of((folder / link[1]).resolve())
            return os.path.relpath(self.root / target, folder) + link[2]

        return replacement

    def _page_of(self, place: Path) -> str:
        """Return the page, or the picture, of a file or folder."""
        name = self._name(place)
        if place.suffix in PICTURES:
            self.pictures.add(name)
            return name
        if place.is_dir():
            readme = place / "README.md"
            name = self._name(readme) if readme.exists() else f"{name}/index.md"
        elif place.suffix != ".md":
            name = f"{name}.md"
        self._waiting.append(name)
        return name

    def _listing(self, folder: Path) -> str:
        names = sorted(
            f"{each.name}/" if each.is_dir() else each.name
            for each in folder.iterdir()
            if each.name not in PRIVATE and not each.name.startswith(".")
        )
        rows = "\n".join(f"- `{name}`" for name in names)
        return f"# {self._name(folder)}/\n\nA folder of the repository:\n\n{rows}\n"

    def _name(self, place: Path) -> str:
        return place.relative_to(self.root).as_posix()


def _shown(file: Path, page: str) -> str:
    """Return the page that shows a file which is no Markdown; the search leaves it out."""
    language = LANGUAGES.get(file.suffix, file.suffix.removeprefix(".") or "text")
    head = f"---\ntitle: {file.name}\nsearch:\n  exclude: true\n---\n\n"
    return f"{head}# {page.removesuffix('.md')}\n\n~~~~~{language}\n{file.read_text()}~~~~~\n"


def lay_out(root: Path, target: Path) -> None:
    """Write everything anew."""
    layout = Layout(root)
    layout.follow()
    shutil.rmtree(target, ignore_errors=True)
    for page, text in layout.texts.items():
        file = target / page
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for picture in layout.pictures:
        file = target / picture
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / picture, file)


if __name__ == "__main__":
    lay_out(ROOT, Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
