"""What the pages say of the examples is so; the blocks of code of docs/ are tested in tests/test_docs.py."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")}


def test_every_example_is_listed_with_its_needs() -> None:
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`(.+?)`\]\((.+?)\) \| \S.* \| \S.* \|$", page, re.MULTILINE)
    assert all(name == link for name, link in rows)
    others = [path.name for kind in ("ipynb", "c", "rs") for path in (ROOT / "examples").glob(f"*.{kind}")]
    others += [path.name for path in (ROOT / "examples").iterdir() if (path / "package.json").exists()]
    assert sorted(name for name, _ in rows) == sorted([*EXAMPLES, *others])


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_says_how_to_run_it_and_what_it_needs(name: str) -> None:
    line = re.search(r"Run it.*?: ``python examples/(\w+\.py).*?``\. It needs \S", EXAMPLES[name])
    assert line
    assert line[1] == name
