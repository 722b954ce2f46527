"""Judges a history: what was sent, what was acknowledged, and what was read back after faults.

A history is a list of events, one JSON object a line when it is kept in a file:

    {"event": "sent",  "key": "k1", "seq": 7, "t": 1700000000.0}
    {"event": "acked", "key": "k1", "seq": 7, "partition": 0, "offset": 41, "t": 1700000000.1}
    {"event": "fault", "kind": "kill", "partitions": [0, 2], "t": 1700000001.0}
    {"event": "recovered", "t": 1700000002.0}
    {"event": "read",  "key": "k1", "seq": 7, "partition": 0, "offset": 41}

Sequence numbers grow by the order in which the application sent the messages of a key. `t` is Unix time in seconds. No
offset, or one below zero, in an acknowledgement says that the client was not told (a duplicate that the broker recognised).
A fault's pause is the longest time without an acknowledgement between it and the next "recovered", or the end: the
first acknowledgement after it may be one that was on its way already, and would tell nothing.
Reads are in the order in which a reader met them; the final read goes from the beginning to the end of every partition.
"""

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field

try:
    from harness import results
except ImportError:  # run by its path, as a command
    import results

EXACTLY_ONCE = "exactly-once"
AT_LEAST_ONCE = "at-least-once"
SHOWN_PER_KIND_MAX = 5


@dataclass(frozen=True)
class Problem:
    """One broken promise. `kind` is lost, duplicated, reordered, phantom, moved, misrouted or gap."""

    kind: str
    text: str


@dataclass
class Verdict:
    sent: int = 0
    acked: int = 0
    read: int = 0
    problems: list = field(default_factory=list)
    pauses_s: dict = field(default_factory=dict)  # (fault's number, partition) -> seconds, None if it took no more

    @property
    def kinds(self):
        return {problem.kind for problem in self.problems}

    def __str__(self):
        by_kind = defaultdict(list)
        for problem in self.problems:
            by_kind[problem.kind].append(problem.text)
        lines = [f"{self.sent} sent, {self.acked} acknowledged, {self.read} read"]
        for kind, texts in sorted(by_kind.items()):
            more = len(texts) - SHOWN_PER_KIND_MAX
            shown = "; ".join(texts[:SHOWN_PER_KIND_MAX]) + (f"; and {more} more" if more > 0 else "")
            lines.append(f"{kind} ({len(texts)}): {shown}")
        return "\n".join(lines)


def _name(message):
    return f"{message[0]}#{message[1]}"


class _Reads:
    """The reads of a history, indexed once."""

    def __init__(self, events):
        self.events = events
        self.places = defaultdict(list)  # message -> [(partition, offset)]
        self.by_partition = defaultdict(list)  # partition -> [(offset, message)] as met
        for event in events:
            message, place = (event["key"], event["seq"]), (event["partition"], event["offset"])
            self.places[message].append(place)
            self.by_partition[place[0]].append((place[1], message))


def _lost(acks, reads):
    for message, ack in acks.items():
        if message not in reads.places:
            yield Problem("lost", f"{_name(message)}, acknowledged at {ack['partition']}@{ack['offset']}")


def _moved(acks, reads):
    """An acknowledgement names an offset: the message must be there, in that partition, and nowhere else."""
    for message, ack in acks.items():
        untold = ack["offset"] is None or ack["offset"] < 0
        if untold or message not in reads.places:
            continue
        if (ack["partition"], ack["offset"]) not in reads.places[message]:
            found = ", ".join(f"{p}@{o}" for p, o in reads.places[message])
            yield Problem("moved", f"{_name(message)}, acknowledged at {ack['partition']}@{ack['offset']}, is at {found}")


def _phantom(sent, reads):
    for message, places in reads.places.items():
        if message not in sent:
            yield Problem("phantom", f"{_name(message)} at {places[0][0]}@{places[0][1]} was never sent")


def _duplicated(reads):
    for message, places in reads.places.items():
        if len(places) > 1:
            yield Problem("duplicated", f"{_name(message)} at " + ", ".join(f"{p}@{o}" for p, o in places))


def _misrouted(reads):
    partitions = defaultdict(set)
    for (key, _), places in reads.places.items():
        partitions[key].update(partition for partition, _ in places)
    for key, found in partitions.items():
        if len(found) > 1:
            yield Problem("misrouted", f"key {key} is in partitions {sorted(found)}")


def _reordered(reads, repeats_allowed):
    """Within a key, sequence numbers rise with the offset; a repeat of what was already seen may be allowed."""
    for partition, met in reads.by_partition.items():
        highest, seen = {}, set()
        for offset, (key, seq) in sorted(met):
            repeat = (key, seq) in seen
            if seq < highest.get(key, -1) and not (repeat and repeats_allowed):
                text = f"{_name((key, seq))} at {partition}@{offset} comes after {_name((key, highest[key]))}"
                yield Problem("reordered", text)
            seen.add((key, seq))
            highest[key] = max(highest.get(key, -1), seq)


def _out_of_turn(reads):
    """A reader meets each partition's offsets one by one, upwards, without holes: no transactions are involved."""
    for partition, met in reads.by_partition.items():
        for (before, _), (after, message) in zip(met, met[1:]):
            if after != before + 1:
                yield Problem("gap", f"partition {partition}: {_name(message)} at {after} was read right after {before}")


def _pauses(events):
    """The pause of each fault in each partition that it hit; None where no message sent after it was acknowledged."""
    sent_at = {(e["key"], e["seq"]): e.get("t") for e in events if e["event"] == "sent"}
    acks = [(e["t"], e["partition"], sent_at.get((e["key"], e["seq"]))) for e in events if e["event"] == "acked"]
    last = max((t for t, _, _ in acks), default=0.0)
    pauses = {}
    for number, fault in enumerate(e for e in events if e["event"] == "fault"):
        ends = [e["t"] for e in events if e["event"] == "recovered" and e["t"] > fault["t"]]
        until = min(ends, default=last)
        for partition in fault["partitions"]:
            taken = any(p == partition and sent is not None and fault["t"] < sent < t <= until for t, p, sent in acks)
            pauses[number, partition] = longest_silence_s(events, partition, fault["t"], until) if taken else None
    return pauses


def longest_silence_s(events, partition, since, until):
    """The longest time without an acknowledgement in a partition within a window of Unix times."""
    times = sorted(e["t"] for e in events if e["event"] == "acked" and e["partition"] == partition)
    edges = [since, *(t for t in times if since < t < until), until]
    return max(after - before for before, after in zip(edges, edges[1:]))


def judge(events, mode=EXACTLY_ONCE):
    """Checks a whole history. In at-least-once mode a message may be there again, but never be missing."""
    sent = {(e["key"], e["seq"]) for e in events if e["event"] == "sent"}
    acks = {(e["key"], e["seq"]): e for e in events if e["event"] == "acked"}
    reads = _Reads([e for e in events if e["event"] == "read"])
    verdict = Verdict(len(sent), len(acks), len(reads.events))
    verdict.problems += [*_lost(acks, reads), *_moved(acks, reads), *_phantom(sent, reads)]
    verdict.problems += [*_misrouted(reads), *_out_of_turn(reads)]
    verdict.problems += _reordered(reads, repeats_allowed=mode == AT_LEAST_ONCE)
    if mode == EXACTLY_ONCE:
        verdict.problems += _duplicated(reads)
    verdict.pauses_s = _pauses(events)
    results.note_verdict(verdict, repeats_allowed=mode == AT_LEAST_ONCE)
    return verdict


def load(paths):
    events = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            events += [json.loads(line) for line in file if line.strip()]
    return events


def main():
    """Command line: exits 1 when a promise was broken, 2 when there is nothing to judge."""
    parser = argparse.ArgumentParser(description="judges a history of sent, acknowledged and read messages")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--mode", choices=[EXACTLY_ONCE, AT_LEAST_ONCE], default=EXACTLY_ONCE)
    arguments = parser.parse_args()
    verdict = judge(load(arguments.files), arguments.mode)
    print(verdict)
    for (fault, partition), pause in verdict.pauses_s.items():
        print(f"fault {fault}, partition {partition}: " + ("no further ack" if pause is None else f"{pause * 1000:.0f} ms"))
    if verdict.acked == 0 or verdict.read == 0:
        print("nothing was acknowledged or read: no verdict")
        return 2
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
