"""The folder of the page: where it has onnxruntime-web from, and what it holds."""

import json
import pathlib

import pytest

from ntm.runtime import folder, site
from ntm.runtime.metadata import STEP
from ntm.tasks import Copy

STEP_OF_BUNDLED = folder.read_graph(folder.find(folder.DEFAULT) / "step.onnx", STEP)


@pytest.fixture
def nowhere(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A place without onnxruntime-web."""
    monkeypatch.setattr(site, "_GLOBAL", ())
    monkeypatch.delenv("NODE_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_package(modules: pathlib.Path, version: str = "1.2.3") -> pathlib.Path:
    package = modules / site.PACKAGE
    (package / "dist").mkdir(parents=True)
    (package / "package.json").write_text(json.dumps({"version": version}), encoding="utf-8")
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (package / "dist" / name).write_text(name, encoding="utf-8")
    return package


def test_takes_the_cdn_where_there_is_no_package(nowhere: pathlib.Path) -> None:
    runtime = site.find_runtime()
    assert runtime == site.Runtime(site.VERSION, None)
    site.write(nowhere, STEP_OF_BUNDLED, Copy(), runtime)
    model = json.loads((nowhere / "page" / "model.json").read_text(encoding="utf-8"))
    for kind in ("runtime", "wasm"):
        assert model["files"][kind]["url"].startswith(f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{site.VERSION}/")
        assert model["files"][kind]["integrity"].startswith("sha384-")
    assert "connect-src 'self' https://cdn.jsdelivr.net" in (nowhere / "index.html").read_text(encoding="utf-8")
    assert site.read_runtime(nowhere).startswith(f"onnxruntime-web {site.VERSION} is loaded from https://cdn")
    site.check(nowhere)


def test_copies_the_package_where_there_is_one(nowhere: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(nowhere / "node_modules")
    inner = nowhere / "deep" / "inside"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    runtime = site.find_runtime()
    assert runtime == site.Runtime("1.2.3", package)
    site.write(inner, STEP_OF_BUNDLED, Copy(), runtime)
    assert "connect-src 'self'\"" in (inner / "index.html").read_text(encoding="utf-8")
    site.check(inner)
    copied = inner / "page" / "ort.wasm.bundle.min.mjs"
    copied.write_text("something else", encoding="utf-8")
    with pytest.raises(ValueError, match=r"is not the file that model\.json names"):
        site.check(inner)


def test_looks_where_node_path_says(nowhere: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(nowhere / "elsewhere")
    monkeypatch.setenv("NODE_PATH", str(nowhere / "elsewhere"))
    assert site.find_runtime().folder == package


def test_an_incomplete_package_is_none(nowhere: pathlib.Path) -> None:
    package = make_package(nowhere / "node_modules")
    (package / "dist" / "ort-wasm-simd-threaded.wasm").unlink()
    assert site.find_runtime().folder is None


def test_the_hashes_are_those_of_the_package() -> None:
    """The CDN serves the files of the package."""
    runtime = site.find_runtime()
    if runtime.folder is None or runtime.version != site.VERSION:
        pytest.skip(f"{site.PACKAGE} {site.VERSION} is not installed")
    for name, integrity in site._INTEGRITY.items():
        assert site._integrity(runtime.folder / "dist" / name) == integrity


class ManySizes(Copy):
    """A task of the user's with more evaluation sizes than the page shows of others."""

    name = "many"
    evaluation_sizes = tuple({"length": length} for length in range(1, 31))  # type: ignore[assignment]


def test_a_task_may_have_many_evaluation_sizes(nowhere: pathlib.Path) -> None:
    site.write(nowhere, STEP_OF_BUNDLED, ManySizes(), site.Runtime(site.VERSION, None))
    model = json.loads((nowhere / "page" / "model.json").read_text(encoding="utf-8"))
    assert {one["size"]["length"] for one in model["sequences"]} == set(range(1, 31))
