"""How long clients may have to wait after each kind of fault, and whether they had to wait longer.

Every time that was measured is printed. What is judged is the best of several: whatever else a machine does can only make
a failover take longer, so the best shows what the brokers need, while a fault of ours (a missed signal, a timeout waited
for, a retry too late) delays each of them. On a machine that does much else at once even the best is late, so what fails a
run is a multiple of the target. Where the machine is known to be idle, `strict` judges the worst by the target itself.
"""

import json
from collections import defaultdict

DETECTION_TIMEOUT_MS = 3000

KILLED = "kill -9 of the leader"
FROZEN = "leader frozen (SIGSTOP)"
MOVED = "planned move of the leader"
TARGETS_MS = {KILLED: 1000, FROZEN: DETECTION_TIMEOUT_MS + 1000, MOVED: 500}

# So many times its target a pause may take on a busy machine.
SLACK = 4


def note(path, client, fault, times_ms):
    """Adds measured times to a file of figures, one JSON object a line."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"client": client, "fault": fault, "ms": times_ms}) + "\n")


def table(path, strict):
    """The lines of the summary table, and how many rows miss their target."""
    rows = defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for line in file:
            noted = json.loads(line)
            rows[noted["fault"], noted["client"]] += noted["ms"]
    lines, missed = [], 0
    form = "{:<28} {:<34} {:>8} {:>8} {:>8} {:>3}  {:>8}  {}"
    lines.append(form.format("PAUSE IN ACKNOWLEDGEMENTS", "CLIENT", "BEST ms", "MEDIAN", "WORST", "N", "TARGET", ""))
    for (fault, client), times in sorted(rows.items()):
        times.sort()
        target = TARGETS_MS[fault]
        failed = times[-1] >= target if strict else times[0] >= SLACK * target
        word = "MISSED" if failed else "met" if times[0] < target else "late"
        missed += failed
        best, median, worst = (f"{times[i]:.0f}" for i in (0, len(times) // 2, -1))
        lines.append(form.format(fault, client, best, median, worst, len(times), f"< {target}", word))
    return (lines if rows else []), missed
