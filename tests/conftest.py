"""What the tests share."""

import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("onnx")

_MAKE_TINY_MODEL = pathlib.Path(__file__).with_name("make_tiny_model.py")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a model that copies bytes, and is not trained but wired."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    subprocess.run([sys.executable, _MAKE_TINY_MODEL, folder], check=True)
    return folder


@pytest.fixture(scope="session")
def tiny_model_of_16_bits(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The like, of 16-bit words."""
    folder = tmp_path_factory.mktemp("models") / "tiny16"
    subprocess.run([sys.executable, _MAKE_TINY_MODEL, folder, "16"], check=True)
    return folder
