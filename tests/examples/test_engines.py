"""The examples of pools and clusters copy all of their words."""

import re
import shutil
import subprocess
from collections.abc import Callable

import pytest

COPIED = "512 sequences, 0 wrong bits"


@pytest.mark.parametrize(
    ("engine", "modules"),
    [
        ("multiprocessing", []),
        ("joblib", ["joblib"]),
        ("dask", ["dask", "distributed"]),
        ("ray", ["ray", "pyarrow"]),
    ],
)
def test_an_engine_copies_all_words(
    run: Callable[..., str], need: Callable[..., None], engine: str, modules: list[str]
) -> None:
    need(*modules)
    assert COPIED in run(f"with_{engine}.py").splitlines()


def test_spark_copies_all_words(run: Callable[..., str], need: Callable[..., None]) -> None:
    need("pyspark")
    java = shutil.which("java")
    if java is None:
        pytest.skip("Java is not installed, which Spark runs on")
    found = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    version = re.search(r'version "(\d+)', found)
    if version is None or int(version[1]) < 17:
        pytest.skip(f"Spark 4 needs Java 17, not {found.splitlines()[0]}")
    assert COPIED in run("with_spark.py").splitlines()
