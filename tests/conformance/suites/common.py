"""What the suites share: where things are kept, and the lists of tests that are not run."""

import hashlib
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(ROOT, ".cache", "conformance")

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
EVERYWHERE = "everywhere"


def say(text):
    print(f"conformance: {text}", file=sys.stderr, flush=True)


def stamp(*parts):
    """A name for what is made from these texts, so that it is made again when they change."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def logged(command, log, **options):
    """Runs a command with its output in a file; says where when it fails."""
    with open(log, "ab") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False, **options)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed: see {log}")


def _rows(path):
    for line in text(path).splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def not_run(path, target):
    """The tests that are not run against a target, with the reason for each.

    A line is NAME, WHERE and REASON, separated by tabs; WHERE is "everywhere" or the name of one target.
    """
    return {row[0]: row[2] for row in _rows(path) if len(row) == 3 and row[1] in (EVERYWHERE, target)}


def stops_at(path, target, name, why):
    """The reason why a test can't go on past a certain place, where that is what it failed at; otherwise None.

    Such a line has a fourth column, the beginning of what the test says there: all before it was run and passed.
    """
    for row in _rows(path):
        is_here = len(row) == 4 and row[1] in (EVERYWHERE, target)
        if is_here and row[0] == name[: len(row[0])] and why.startswith(row[3]):
            return row[2]
    return None


def parts(path, target):
    """Parts of tests that stop before them, to be run by themselves: pairs of the test and the part.

    A line is NAME, WHERE and PART.
    """
    return [(row[0], row[2]) for row in _rows(path) if row[1] in (EVERYWHERE, target)]
