"""The documentation as a site: `make docs` builds it into out/docs, with warnings as errors.

The source folder is the project itself, so that the pages are laid out as they are in the repository: links between
them, to the README and to files of the project are the same here and on a code host.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util.inspect import signature, stringify_signature

_ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT))

from docs.tools.docstrings import restructured  # noqa: E402 - the path has to be there first
from docs.tools.site import linked_pictures, readable  # noqa: E402 - the path has to be there first
from flight import __version__  # noqa: E402

project = "orbitnode"
release = version = __version__
project_copyright = "the authors of orbitnode, Apache-2.0"
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/adr/*.md", "docs/guides/*.md", "docs/reference/**"]
# What is not walked at all; the walk is over the whole project.
exclude_patterns = [".*", "build", "dist", "out", "tests", "flight", "ground", "hal", "payloads", "sim_hw"]

# The side bar: captions, and pages in this order. A pattern takes what no line has taken before it, so that a new guide
# is there without a line of its own.
_NAVIGATION = {
    "Begin": ["README.md", "docs/guides/tutorial.md"],
    "Questions": [
        "docs/guides/own-*.md",
        "docs/guides/rejected.md",
        "docs/guides/no-*.md",
        "docs/guides/reboot.md",
    ],
    "Guides": [
        "docs/guides/mission.md",
        "docs/guides/app.md",
        "docs/guides/driver.md",
        "docs/guides/bench.md",
        "docs/guides/api.md",
        "docs/guides/procedure.md",
        "docs/guides/recording.md",
        "docs/guides/link.md",
        "docs/guides/dictionary.md",
        "docs/guides/*.md",
    ],
    "Reference": [
        "docs/reference/command-line.md",
        "docs/reference/commands.md",
        "docs/reference/telemetry.md",
        "docs/reference/events.md",
        "docs/reference/parameters.md",
        "docs/reference/failure-codes.md",
        "docs/reference/*.md",
        "docs/summary.md",
    ],
    "Python interfaces": ["docs/reference/api/payload.md", "docs/reference/api/driver.md", "docs/reference/api/*.md"],
    "Project": ["CONTRIBUTING.md", "docs/design.md", "docs/adr/README.md", "docs/*.md", "CHANGELOG.md", "*.md"],
}

html_theme = "furo"
html_title = "orbitnode"
html_static_path = ["static/wide.css"]
html_css_files = ["wide.css"]
html_extra_path = ["static/index.html"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False

myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # shortened examples: "..." is not TOML
default_role = "code"
highlight_language = "text"

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"


def _navigation() -> dict[str, list[str]]:
    """Return the pages under each caption."""
    taken = {f"{root_doc}.md"}
    found: dict[str, list[str]] = {}
    for caption, patterns in _NAVIGATION.items():
        for pattern in patterns:
            pages = sorted({path.relative_to(_ROOT).as_posix() for path in _ROOT.glob(pattern)} - taken)
            found.setdefault(caption, []).extend(pages)
            taken.update(pages)
    return found


def _toctree(pages: Iterable[str], caption: str = "") -> str:
    lines = [":hidden:", *([f":caption: {caption}"] if caption else []), "", *(f"/{page}" for page in pages)]
    return "\n".join(["", "```{toctree}", *lines, "```", ""])


def _with_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    """Add the side bar to the page. It stands here because the pages are also read on a code host."""
    if page == root_doc:
        source[0] += "".join(_toctree(pages, caption) for caption, pages in _navigation().items())
    elif page == "docs/adr/README":
        decisions = sorted((_ROOT / "docs" / "adr").glob("0*.md"))
        source[0] += _toctree(path.relative_to(_ROOT).as_posix() for path in decisions)


def _outdated(_app: Sphinx, _env: object, added: set[str], _changed: set[str], removed: set[str]) -> list[str]:
    """Return the pages with the side bar if pages were added or removed: Sphinx must read these again."""
    return [root_doc, "docs/adr/README"] if added or removed else []


def _docstring(_app: Sphinx, _what: str, _name: str, _thing: object, _options: object, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def _signature(
    _app: Sphinx, _what: str, _name: str, thing: object, _options: object, arguments: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show arguments as one writes them; none for a Protocol: they would be those of typing's own constructor."""
    if getattr(thing, "_is_protocol", False):
        return "", returns
    if isinstance(thing, type) and dataclasses.is_dataclass(thing) and arguments is not None:
        shown = readable(signature(thing))
        return stringify_signature(shown, show_return_annotation=False, unqualified_typehints=True), returns
    return arguments, returns


def _pictures_open(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Let every picture of a page be opened by itself, at its full size."""
    if "body" in context:
        context["body"] = linked_pictures(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the hooks of this file; Sphinx calls it."""
    app.add_lexer("csv", TextLexer)
    app.connect("source-read", _with_navigation)
    app.connect("env-get-outdated", _outdated)
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-process-signature", _signature)
    app.connect("html-page-context", _pictures_open)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
