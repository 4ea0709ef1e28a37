"""Assets: fetched once, checked always, and one clear line for everything that can be wrong."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from flight.core.errors import SetupError
from payloads.assets import cache as files
from payloads.assets import fetch, models


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ORBITNODE_CACHE", str(folder))
    return folder


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:  # noqa: ARG001 - kept apart
    """A folder with one small real wheel, which pip finds without a network, pinned in place of the two big ones."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    content = b"[[[1]]]"
    info = "tiny_scene-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_scene-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_scene/scene.json", content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-scene\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256((folder / "tiny_scene-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    member = files.Member("tiny_scene/scene.json", hashlib.sha256(content).hexdigest(), len(content))
    tiny = files.Asset("tiny-scene", "1.0", digest, (member,))
    monkeypatch.setattr(fetch, "ASSETS", (tiny,))
    monkeypatch.setattr(files, "SCENE", tiny)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_fetch_then_offline(wheelhouse: Path, cache: Path) -> None:
    fetch.fetch(say=False)
    assert files.scene_path().read_bytes() == b"[[[1]]]"
    assert files.scene_path().is_relative_to(cache)
    for one in wheelhouse.iterdir():
        one.unlink()
    fetch.fetch(say=False)  # nothing left to fetch from, and nothing to fetch
    assert [p.name for p in (cache / "tiny-scene-1.0").iterdir()] == ["scene.json"]  # no temporary file stays


@pytest.mark.usefixtures("wheelhouse")
def test_damaged_file_is_named_and_fetched_again() -> None:
    fetch.fetch(say=False)
    path = files.scene_path()
    path.write_bytes(b"[[[1")
    with pytest.raises(SetupError, match=r"has 4 octets, should have 7.*make setup"):
        files.scene_path()
    path.write_bytes(b"[[[2]]]")
    with pytest.raises(SetupError, match="altered"):
        files.scene_path()
    fetch.fetch(say=False)
    assert files.scene_path().read_bytes() == b"[[[1]]]"


def test_another_wheel_of_that_name_is_refused(wheelhouse: Path, cache: Path) -> None:
    with zipfile.ZipFile(next(wheelhouse.iterdir()), "a") as wheel:
        wheel.writestr("tiny_scene/extra.py", "")
    with pytest.raises(SetupError, match="should be"):
        fetch.fetch(say=False)
    assert list((cache / "tiny-scene-1.0").iterdir()) == []


def test_unreachable_index_is_one_line(wheelhouse: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next(wheelhouse.iterdir()).unlink()
    assert fetch.main(["fetch"]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("orbitnode: cannot fetch tiny-scene==1.0")
    assert "PIP_FIND_LINKS" in line


@pytest.mark.usefixtures("wheelhouse")
def test_pip_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("pip", 1.0)

    monkeypatch.setattr(subprocess, "run", late)
    with pytest.raises(SetupError, match="pip did not end within"):
        fetch.fetch(say=False)


@pytest.mark.usefixtures("wheelhouse")
def test_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ORBITNODE_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(SetupError, match="set ORBITNODE_CACHE"):
        fetch.fetch(say=False)


@pytest.mark.usefixtures("cache")
def test_missing_model_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SetupError, match=r"model_4b_l1c.onnx is missing; run `make setup`"):
        models.model_path()
    assert fetch.main(["check"]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_truncated_model(cache: Path) -> None:
    folder = cache / "ukis-csmask-1.0.0"
    folder.mkdir(parents=True)
    (folder / "model_4b_l1c.onnx").write_bytes(bytes(1000))
    with pytest.raises(SetupError, match="has 1000 octets, should have 39601686"):
        models.model_path()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_model(cache: Path) -> None:
    folder = cache / "ukis-csmask-1.0.0"
    folder.mkdir(parents=True)
    (folder / "model_4b_l1c.onnx").write_bytes(bytes(39_601_686))
    (folder / "model_4b_l1c.onnx").chmod(0)
    with pytest.raises(SetupError, match="cannot be read"):
        models.model_path()


def test_cache_folder_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ORBITNODE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / "orbitnode"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert files.cache_folder() == Path.home() / ".cache" / "orbitnode"


def test_model_named_by_path(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"no file .*absent\.onnx"):
        models.resolve_model(str(tmp_path / "absent.onnx"))
    (tmp_path / "own.onnx").write_bytes(b"x")
    with pytest.raises(SetupError, match=r"no file .*own\.json"):
        models.resolve_model(str(tmp_path / "own.onnx"))
    (tmp_path / "own.json").write_bytes(b"{}")
    assert models.resolve_model(str(tmp_path / "own.onnx")) == tmp_path / "own.onnx"
