import subprocess
import sys

from ntm import text


def test_a_table_is_aligned() -> None:
    assert text.table([("name", "n", "wrong"), ("a", "1,000", "")], left=1).splitlines() == [
        "| name |     n | wrong |",
        "| ---- | ----: | ----: |",
        "| a    | 1,000 |       |",
    ]


def test_a_rule_of_a_table_has_three_characters_at_least() -> None:
    assert text.table([("x", "N"), ("a", "9")], left=1).splitlines() == [
        "| x   |   N |",
        "| --- | --: |",
        "| a   |   9 |",
    ]


def test_evaluating_from_python_needs_nothing_of_the_commands() -> None:
    code = "import sys, ntm.runtime.evaluate; sys.exit(bool({'typer', 'ntm.console'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
