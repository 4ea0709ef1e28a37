"""Tests, and what they are made of."""

# A package and not a plain folder: ccsds-cop, which the tests use, installs a package `tests` of its own, and a package
# anywhere on the path comes before a folder without this file.
