"""Train a bundled model again, check it, and replace the old one.

The script runs ``ntm-train`` and ``ntm-export``, and counts wrong bits by size; the commands and the table join the
model card. With ``--output DIR`` the model goes elsewhere, and the bundled one stays as it is. With ``--again`` nothing
is trained: the network is read back from the bundled model and exported again, after a change of the export. The exit
code is 1, and nothing is replaced, if the network has not converged, disagrees with TensorFlow, or outputs more wrong
bits than the table in this script allows.
"""

import argparse
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import ntm
from ntm import console, text
from ntm.runtime.cores import available_cores
from ntm.runtime.evaluate import Case, Score, readable, run_case, task_of
from ntm.tasks import Size, Task, find
from ntm.tasks.task import describe
from ntm.training.recipes import configure
from ntm.training.run import load_config, load_run


class Evaluation(NamedTuple):
    """Sequences of one size that a model is evaluated on.

    Attributes:
        size: of the sequences.
        memory_locations: N; None for just as many as the size needs.
        sequences: how many.
        allowed: the most wrong bits, of all sequences together; None where they are only reported.
        options: of the task, where they differ from those of the training.
    """

    size: Size
    memory_locations: int | None
    sequences: int
    allowed: int | None = 0
    options: Mapping[str, Any] = {}


class Recipe(NamedTuple):
    """How a bundled model is made.

    Attributes:
        task: what the model learns.
        options: further options of ``ntm-train``.
        seed: another kind of processor or number of cores rounds differently, and makes another network of a seed.
        evaluations: what the model is evaluated on.
    """

    task: str
    options: tuple[str, ...]
    seed: int
    evaluations: tuple[Evaluation, ...]


class Result(NamedTuple):
    """What an evaluation has found."""

    evaluation: Evaluation
    task: Task
    score: Score

    @property
    def wrong_bits(self) -> int:
        """Of all sequences together."""
        return int(self.score.wrong_bits.sum())

    @property
    def allowed(self) -> bool:
        """Whether no more bits are wrong than are allowed."""
        return self.evaluation.allowed is None or self.wrong_bits <= self.evaluation.allowed


# The formats of a bundled model: one for each backend of ``ntm.load``.
FORMATS = ("onnx", "tflite")

MODELS = {
    "copy-8bit": Recipe(
        task="copy",
        options=(),
        seed=3,
        evaluations=(
            *(Evaluation({"length": length}, None, 10_000) for length in (1, 2, 5, 7, 11, 20, 30)),
            *(Evaluation({"length": length}, 128, 1_000) for length in (1, 2, 5, 10, 20, 30, 40, 50, 80, 120)),
            Evaluation({"length": 1_000}, 1_024, 100),
            Evaluation({"length": 10_000}, 10_240, 3),
            *(
                Evaluation({"length": length}, locations, 10, options={"pattern": pattern})
                for pattern in ("zeros", "ones", "repeat", "counter", "text")
                for length, locations in ((20, 128), (120, 128), (1_000, 1_024))
            ),
        ),
    ),
    "associative-recall": Recipe(
        task="associative-recall",
        options=(),
        seed=0,
        evaluations=tuple(
            Evaluation({"items": items}, locations, 1_000, 0 if items <= 10 else None)
            for locations in (None, 128)
            for items in (2, 6, 10, 15, 20, 50)
        ),
    ),
    "repeat-copy": Recipe(
        task="repeat-copy",
        options=(),
        seed=6,
        evaluations=tuple(
            Evaluation({"length": length, "repeats": repeats}, locations, 1_000, None)
            for locations in (None, 128)
            for length, repeats in ((1, 1), (5, 5), (10, 10), (20, 10), (30, 10), (10, 12), (10, 20))
        ),
    ),
    "dynamic-ngrams": Recipe(
        task="dynamic-ngrams",
        options=(),
        seed=0,
        evaluations=tuple(Evaluation({"length": length}, None, 1_000, None) for length in (100, 200, 400)),
    ),
    "priority-sort": Recipe(
        task="priority-sort",
        options=(),
        seed=5,
        evaluations=tuple(
            Evaluation({"vectors": vectors}, locations, 1_000, None)
            for locations in (None, 128)
            for vectors in (5, 10, 20, 30)
        ),
    ),
}


def main() -> int:
    """Make the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(MODELS), metavar="NAME", help=f"the model: {' or '.join(MODELS)}")
    parser.add_argument("--output", type=pathlib.Path, help="where the model goes (default: where the bundled one is)")
    parser.add_argument("--seed", type=int, help="of the training; another processor may need another one")
    parser.add_argument("--run", type=pathlib.Path, help="a run of the same command, which need not be trained again")
    parser.add_argument("--again", action="store_true", help="export the network of the bundled model again")
    arguments = parser.parse_args()
    name, recipe = arguments.name, MODELS[arguments.name]
    output = arguments.output or pathlib.Path(__file__).parents[1] / "runtime" / "pretrained" / name
    seed = recipe.seed if arguments.seed is None else arguments.seed
    train = ["ntm-train", "--task", recipe.task, *recipe.options, "--seed", str(seed), "--output", "run"]
    formats = [word for given in FORMATS for word in ("--format", given)]
    export = ["ntm-export", *formats, "--name", name, "run", "--output", name]
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.run is not None:
            check_run(arguments.run, recipe, seed)
            shutil.copytree(arguments.run, pathlib.Path(temporary, "run"))
        made = pathlib.Path(temporary, name)
        if arguments.again:
            console.import_tensorflow()
            from bundled import trained  # noqa: PLC0415  (it imports TensorFlow)

            ntm.export(trained(name), made, formats=FORMATS, model_name=name)
        else:
            for command in (train, export) if arguments.run is None else (export,):
                print("$", shlex.join(command), flush=True)
                program = pathlib.Path(sys.executable).with_name(command[0])
                if subprocess.run([program, *command[1:]], cwd=temporary, check=False).returncode:
                    return 1
        results = evaluate(made, recipe.evaluations)
        print(table(results))
        if not all(result.allowed for result in results):
            return 1
        with open(made / "card.md", "a", encoding="utf-8") as card:
            card.write(
                f"\n## Made by\n\n```\n{shlex.join(train)}\n{shlex.join(export)}\n```\n\n"
                f"`python benchmarks/pretrained.py {name}` runs both commands and measures the table below.\n\n"
                "## Wrong bits by size\n\n"
                "On fresh sequences, through the ONNX graphs that the runtime takes for each size.\n\n"
                f"{table(results)}\n"
            )
        if output.exists():
            shutil.rmtree(output)
        shutil.copytree(made, output)
    return 0


def check_run(run: pathlib.Path, recipe: Recipe, seed: int) -> None:
    """Check that a run is what the command of a recipe makes, and has converged.

    Raises:
        SystemExit: it is another, or has not.
    """
    config, summary = load_config(run), load_run(run).summary
    task = find(recipe.task)
    network, training = configure(task, options={"seed": seed})
    made = (
        recipe.options == () and (config.task, config.network) == (task.name, network) and config.training == training
    )
    if not made:
        raise SystemExit(f"{run} is not what ntm-train makes of the seed {seed}")
    if not summary["converged"]:
        raise SystemExit(f"{run} has not converged")


def evaluate(path: pathlib.Path, evaluations: tuple[Evaluation, ...]) -> list[Result]:
    """Evaluate a model; prints on stderr which evaluations have more wrong bits than allowed."""
    model, results = ntm.load(path), []
    for evaluation in evaluations:
        size, locations, sequences, _, options = evaluation
        task = task_of(model.metadata, None, options)
        needed = max(task.memory_locations(size), model.metadata.least_locations)
        case = Case(size, locations or needed, sequences)
        result = Result(evaluation, task, run_case(model, task, case, threads=available_cores()))
        if not result.allowed:
            of = ", ".join([describe(size), *(f"{name}={value}" for name, value in options.items())])
            print(f"{of}, N = {case.memory_locations:,}: {result.wrong_bits:,} wrong bits", file=sys.stderr)
        results.append(result)
    return results


def table(results: list[Result]) -> str:
    """A row for each evaluation, and what the columns mean; Markdown."""
    options = list(dict.fromkeys(name for result in results for name in result.evaluation.options))
    sizes = list(results[0].evaluation.size)
    columns = [*sizes, "memory_locations", "sequences", "perfect_sequences"]
    columns += ["wrong_bits_mean", "wrong_bits_worst", "cost_mean"]
    rows = [[*options, *sizes, "N", "sequences", "perfect", "wrong bits", "worst", "cost"]]
    for result in results:
        figures = result.score.as_dict()
        cells = [str(result.task.options[name]) for name in options]
        rows.append([*cells, *(readable(figures[name]) for name in columns)])
    legend = "N: memory locations; wrong bits: per sequence, and in the worst; cost: bits per sequence"
    return f"{text.table(rows, left=len(options))}\n\n{legend}"


if __name__ == "__main__":
    sys.exit(main())
