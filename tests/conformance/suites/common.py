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


def not_run(path, target):
    """The tests that are not run against a target, with the reason for each.

    A line is NAME, WHERE and REASON, separated by tabs; WHERE is "everywhere" or the name of one target.
    """
    reasons = {}
    for line in text(path).splitlines():
        if line and not line.startswith("#"):
            name, where, reason = line.split("\t")
            if where in (EVERYWHERE, target):
                reasons[name] = reason
    return reasons
