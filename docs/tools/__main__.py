"""`python -m docs.tools`: write the generated pages, and name those that changed."""

from __future__ import annotations

from docs.tools.pages import DOCS, generated_pages


def main() -> None:
    """Write what is not as it should be."""
    for path, text in generated_pages():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")


main()
