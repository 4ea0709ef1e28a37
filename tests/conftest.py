"""Shared by all tests: hypothesis profiles and the folder of independent test data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

ROOT = Path(__file__).resolve().parents[1]

# `ci` (the default) tries the same examples on every run; `search` looks for new ones: HYPOTHESIS_PROFILE=search
settings.register_profile(
    "ci", derandomize=True, max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", max_examples=2000, deadline=None)
# `mutants`: as `ci`, without looking for the smallest example of a failure, which nobody would see.
settings.register_profile("mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate, Phase.target])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of independent test data beside the checkout; the test is skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "vectors").is_dir():
        pytest.skip("independent test data (../shared/vectors) is not on this machine")
    return folder
