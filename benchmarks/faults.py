"""End ``ntm-copy`` at random moments, and measure the memory that it takes; Markdown. Linux only.

The tests hold the other faults, and a short version of these. The exit code is 1 if ever there was something else
under the name of the output than all of the copy, or anything else beside it; if a signal had a message or another
exit code than it should; or if the memory grew with the file.
"""

import argparse
import collections
import filecmp
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

PROGRAM = pathlib.Path(sys.executable).with_name("ntm-copy")
MOST_GROWTH = 1.3  # of the peak memory, from 1 MiB to the large file
DICE = random.Random(0)  # noqa: S311


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="for each signal (default: %(default)s)")
    parser.add_argument("--mebibytes", type=int, default=64, help="of the large file (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Not all three, so that the tables are complete.
        fine = [end(pathlib.Path(folder), arguments.times), interrupt_a_gibibyte(pathlib.Path(folder))]
        fine.append(measure_memory(pathlib.Path(folder), arguments.mebibytes))
    return 0 if all(fine) else 1


def end(folder: pathlib.Path, times: int) -> bool:
    """Send signals at random moments, from the start of the process to after its end."""
    source, output = folder / "source", folder / "output"
    content = DICE.randbytes(200_000)
    source.write_bytes(content)
    output.mkdir()
    start = time.monotonic()
    subprocess.run([PROGRAM, source, "-o", output / "copy"], check=True)
    duration = time.monotonic() - start

    print(f"A copy of {len(content):,} bytes, undisturbed: {duration:.2f} s\n")
    print("| signal | times | whole copy | no copy | part of one | other files left | messages | exit codes |")
    print("| --- |" + " ---: |" * 6 + " --- |")
    fine = True
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        found: collections.Counter[str] = collections.Counter()
        codes: collections.Counter[int] = collections.Counter()
        for _ in range(times):
            for path in output.iterdir():
                path.unlink()
            process = subprocess.Popen([PROGRAM, source, "-o", output / "copy"], stderr=subprocess.PIPE)
            if number == signal.SIGINT:
                wait_until_it_listens(process)
            time.sleep(DICE.uniform(0, 1.2 * duration))
            process.send_signal(number)
            found["messages"] += bool(process.communicate()[1])
            codes[process.returncode] += 1
            left = {path.name: path.read_bytes() for path in output.iterdir()}
            copy = left.pop("copy", None)
            found["none" if copy is None else "whole" if copy == content else "part"] += 1
            found["other"] += len(left)
        columns = ("whole", "none", "part", "other", "messages")
        seen = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
        print(f"| {number.name} | {times} | {' | '.join(str(found[name]) for name in columns)} | {seen} |", flush=True)
        allowed = {0, -number, 128 + number}  # 0: it was over
        fine = fine and not (found["part"] or found["other"] or found["messages"]) and set(codes) <= allowed
    return fine


def wait_until_it_listens(process: subprocess.Popen[bytes]) -> None:
    """Until the command handles signals: before, Python is being started, and answers Ctrl-C with a traceback."""
    while process.poll() is None:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        if caught >> (signal.SIGTERM - 1) & 1:  # which Python by itself does not
            return
        time.sleep(0.001)


def interrupt_a_gibibyte(folder: pathlib.Path) -> bool:
    """Ctrl-C on the way through a large file."""
    sparse, output = folder / "sparse", folder / "of sparse"
    with open(sparse, "wb") as file:
        file.truncate(1 << 30)
    output.mkdir()
    process = subprocess.Popen([PROGRAM, sparse, "-o", output / "copy"], stderr=subprocess.PIPE)
    time.sleep(5)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate()
    seconds, left = time.monotonic() - start, os.listdir(output)
    print(
        f"\nA sparse file of 1 GiB, interrupted after 5 s: exit code {process.returncode} within {seconds:.2f} s, "
        f"{len(messages)} bytes of messages, {len(left)} files left"
    )
    return (process.returncode, messages, left) == (130, b"", [])


def measure_memory(folder: pathlib.Path, mebibytes: int) -> bool:
    """Compare the peak memory of a small and of a large file."""
    print("\n| file | s | peak memory |\n| ---: | ---: | ---: |")
    peaks = []
    for size in (1, mebibytes):
        source, copy = folder / f"{size} MiB", folder / f"copy of {size} MiB"
        with open(source, "wb") as file:  # piece by piece: a process begins with the peak of the one that started it
            for _ in range(size):
                file.write(DICE.randbytes(1 << 20))
        start = time.monotonic()
        process = subprocess.Popen([PROGRAM, source, "-o", copy])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or not filecmp.cmp(source, copy, shallow=False):
            raise SystemExit(f"the copy of {size} MiB failed")
        peaks.append(usage.ru_maxrss / 1024)
        print(f"| {size} MiB | {time.monotonic() - start:.1f} | {peaks[-1]:.1f} MiB |", flush=True)
    print(f"\nThe peak of {mebibytes} MiB is {peaks[1] / peaks[0]:.2f}x that of 1 MiB; {MOST_GROWTH}x is allowed")
    return peaks[1] <= MOST_GROWTH * peaks[0]


if __name__ == "__main__":
    sys.exit(main())
