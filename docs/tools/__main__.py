"""`python -m docs.tools`: write the generated pages, and name those that changed."""

from __future__ import annotations

import sys

from docs.tools.pages import DOCS, generated_pages


def main() -> None:
    """Write what is not as it should be."""
    try:
        pages = list(generated_pages())
    except ValueError as error:
        sys.exit(f"docs: {error}")
    for path, text in pages:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")


main()
