"""The figures of the papers, drawn from run folders that hold nothing but a history."""

import json
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("matplotlib")

_SCRIPT = pathlib.Path(__file__).parents[1] / "benchmarks" / "figures.py"
_NETWORKS = ("ntm-feedforward", "ntm-lstm", "lstm", "memory-constant", "memory-learned", "memory-random")


def test_learning_curves_are_drawn_from_the_histories_of_several_seeds(tmp_path: pathlib.Path) -> None:
    for network in _NETWORKS:
        for seed, reports in enumerate((2, 3)):
            run = tmp_path / "runs" / "copy" / network / f"seed-{seed}"
            run.mkdir(parents=True)
            costs = [80.0, None, 0.5][:reports]
            lines = [json.dumps({"sequences": 200 * (i + 1), "cost": cost}) for i, cost in enumerate(costs)]
            (run / "history.jsonl").write_text("\n".join(lines), encoding="utf-8")
    figures, output = ["fig3", "collier-beel"], tmp_path / "pictures"
    subprocess.run(
        [sys.executable, _SCRIPT, *figures, "--from", tmp_path / "runs", "--seeds", "0-1", "--output", output],
        check=True,
    )
    assert sorted(path.name for path in output.iterdir()) == ["collier-beel.png", "fig3.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in output.iterdir())
