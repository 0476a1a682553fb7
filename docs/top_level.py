"""Hook of MkDocs: pages and files outside docs/ that its pages link to become part of the site.

GitHub resolves ``../MODEL_CARD.md`` and ``../examples/one_call.py`` in the repository. The site has docs/ as its root,
so this hook adds each such file under its path in the repository and drops the ``../``.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("MODEL_CARD.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
_LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages at the top of the repository, and every file that some page links to."""
    linked = set(PAGES)
    for page in (*(ROOT / name for name in PAGES), *Path(config.docs_dir).glob("*.md")):
        linked |= {_in_repository(link, page) for link in _LINK.findall(page.read_text(encoding="utf-8"))}
    for path in sorted(linked):
        excluded = path.startswith("docs/") or (path.endswith(".md") and path not in PAGES)
        if not excluded and (ROOT / path).is_file():
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links at the files in the site. A link to a folder or to nothing stays as it is, and fails the build."""
    source = ROOT / page.file.src_uri if page.file.src_uri in PAGES else Path(config.docs_dir) / page.file.src_uri

    def moved(link: re.Match[str]) -> str:
        path = _in_repository(link[1], source).removeprefix("docs/")
        return path if files.get_file_from_path(path) else link[1]

    return _LINK.sub(moved, markdown)


def _in_repository(link: str, page: Path) -> str:
    """A relative link as a path below the repository's root, or as it is where it leads elsewhere."""
    target = (page.parent / link).resolve()
    return target.relative_to(ROOT).as_posix() if target.is_relative_to(ROOT) else link
