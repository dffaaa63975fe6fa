"""The web format: the page with the step graph, which the gate compares with TensorFlow like every other graph."""

import json
import pathlib

import pytest

from ntm.errors import ExportError
from ntm.export import publish
from ntm.runtime import folder, site
from ntm.runtime.metadata import STEP
from ntm.tasks import Copy
from ntm.training.run import load_run


@pytest.fixture(scope="module")
def alone(run: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An export in this format alone."""
    out = tmp_path_factory.mktemp("web") / "site"
    found = publish.publish(run, out, ["web"])
    assert list(found) == ["page/step.onnx"]
    assert found["page/step.onnx"].holds
    return out


def test_holds_the_page_and_the_network(alone: pathlib.Path, run: pathlib.Path) -> None:
    assert {path.name for path in alone.iterdir()} == {"index.html", "page", "card.md", "known_answer.json"}
    graph = folder.read_graph(alone / "page" / "step.onnx", STEP)
    assert graph.metadata.checkpoint_sha256 == load_run(run).checkpoint_sha256
    model = json.loads((alone / "page" / "model.json").read_text(encoding="utf-8"))
    assert model["name"] == "site"
    assert model["task"]["name"] == Copy.name
    assert model["files"]["graph"]["url"] == "page/step.onnx"
    card = (alone / "card.md").read_text(encoding="utf-8")
    assert "python -m http.server" in card
    assert site.read_runtime(alone) in card


def test_can_be_proven_again(alone: pathlib.Path, run: pathlib.Path) -> None:
    assert set(publish.verify(run, alone)) == {"page/step.onnx"}


def test_notices_another_file(alone: pathlib.Path, run: pathlib.Path) -> None:
    path = alone / "page" / "model.json"
    text = path.read_text(encoding="utf-8")
    model = json.loads(text)
    model["files"]["graph"]["integrity"] = "sha384-0"
    path.write_text(json.dumps(model), encoding="utf-8")
    with pytest.raises(ExportError, match=r"page/step.onnx is not the file that model.json names"):
        publish.verify(run, alone)
    path.write_text(text, encoding="utf-8")
