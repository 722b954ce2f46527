"""What tests saw, kept where docs/guarantees.md is made from: one JSON object a line in the file that RESULTS names.

Who runs tests sets RESULTS, and RESULTS_TEST where it is not pytest (which says by itself what runs). What one such process
tells, or what its children tell, is one run.
"""

import json
import os
import time

COUNTED = ("lost", "duplicated", "reordered")


def test_name():
    """The test that runs, as `test_file.py::test_name[case]`; None outside of one."""
    named = os.environ.get("RESULTS_TEST") or os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return named or None


def note(**seen):
    """Adds something that the present test saw."""
    path, name = os.environ.get("RESULTS"), test_name()
    if path and name:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"test": name, "t": round(time.time()), "run": os.environ.get("RESULTS_RUN"), **seen}) + "\n")


def note_verdict(verdict, repeats_allowed):
    """Adds how a history was judged. What may be there twice is not counted."""
    kinds = [problem.kind for problem in verdict.problems]
    counts = {kind: kinds.count(kind) for kind in COUNTED if kind != "duplicated" or not repeats_allowed}
    other = len(kinds) - sum(counts.values())
    worst = {}
    for (fault, _), pause in verdict.pauses_s.items():
        if pause is not None:
            worst[fault] = max(worst.get(fault, 0), round(pause * 1000))
    note(acked=verdict.acked, **counts, other=other, pauses_ms=list(worst.values()))
