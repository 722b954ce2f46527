"""Drives a fault: a steady writer, a reader that follows, a fault in the middle, and the history of it all.

A client takes part as a `Writer` and a `follow` function; the course of events and the judgement are the same for all.
"""

import threading
import time
from collections import Counter

from conftest import wait_until
from harness import history

PARTITIONS = 3
KEYS = 6
# Acknowledgements that each partition needs before the fault, after it, and after all is well again.
STEADY = 200
# How often each fault is repeated for its figure (see harness/targets.py).
ROUNDS = 3
PACE_S = 0.001  # the rate of the load, not a synchronisation
IN_FLIGHT_MAX = 2000


class Story:
    """What happened, as the history checker wants it. Safe to be told by several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.events = []
        self.acked = Counter()
        self.fresh = Counter()  # acknowledged, of those sent after the last fault
        self.failed = []
        self.settled = 0
        self.fault_at = None
        self._sent_at = {}

    def sent(self, key, seq):
        with self.lock:
            now = time.time()
            self._sent_at[key, seq] = now
            self.events.append({"event": "sent", "key": key, "seq": seq, "t": now})

    def acknowledged(self, key, seq, partition, offset):
        with self.lock:
            self.settled += 1
            self.acked[partition] += 1
            if self.fault_at is not None and self._sent_at[key, seq] > self.fault_at:
                self.fresh[partition] += 1
            event = {"event": "acked", "key": key, "seq": seq, "partition": partition, "offset": offset}
            self.events.append({**event, "t": time.time()})

    def refused(self, key, seq, error):
        with self.lock:
            self.settled += 1
            self.failed.append(f"{key}#{seq}: {error}")

    def fault(self, kind, at, partitions):
        with self.lock:
            self.fault_at = at
            self.fresh.clear()
            self.events.append({"event": "fault", "kind": kind, "partitions": partitions, "t": at})

    def recovered(self):
        with self.lock:
            self.events.append({"event": "recovered", "t": time.time()})

    def in_flight(self):
        with self.lock:
            return len(self._sent_at) - self.settled


class Load:
    """Writes numbered messages until it is stopped: one for each key in turn, key k to partition k mod PARTITIONS.

    Numbers begin with `first`.
    """

    def __init__(self, writer, story, first=0):
        self.writer, self.story, self.next = writer, story, first
        self.ending = threading.Event()
        self.problem = None
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self):
        try:
            while not self.ending.is_set():
                for k in range(KEYS):
                    self.story.sent(f"key-{k}", self.next)
                    self.writer.send(k % PARTITIONS, f"key-{k}", self.next)
                self.writer.poll()
                while self.story.in_flight() > IN_FLIGHT_MAX and not self.ending.is_set():
                    self.writer.poll()
                    time.sleep(PACE_S)
                self.next += 1
                time.sleep(PACE_S)
            self.writer.finish()
        except Exception as problem:  # told to the test's own thread, which fails with it
            self.problem = problem

    def __enter__(self):
        self.thread.start()
        return self

    def stop(self):
        self.ending.set()
        self.thread.join()
        if self.problem is not None:
            raise self.problem

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()

    def alive(self):
        if self.problem is not None:
            raise self.problem
        return True

    def reach(self, what, counts, marks):
        wait_until(what, lambda: self.alive() and all(counts[p] >= mark for p, mark in marks.items()))

    def go_on(self, what):
        """Waits until each partition has taken STEADY more messages."""
        marks = {p: self.story.acked[p] + STEADY for p in range(PARTITIONS)}
        self.reach(what, self.story.acked, marks)


def strike(cluster, load, topic, verb):
    """Hits the broker that leads partition 0 and waits until every partition it led takes messages again."""
    victim = cluster.leader(topic, 0)
    hit = cluster.led_by(topic, victim)
    load.story.fault(verb, float(cluster.verb(verb, victim)), hit)
    load.reach(f"partitions {hit} take messages again", load.story.fresh, {p: STEADY for p in hit})
    load.story.recovered()
    return victim


def judged(story, reads, mode=history.EXACTLY_ONCE):
    """Fails unless every acknowledged message is among the reads as it must be."""
    assert story.failed == [], f"{len(story.failed)} messages failed, the first: {story.failed[0]}"
    verdict = history.judge(story.events + reads, mode)
    assert verdict.acked and verdict.read
    assert verdict.problems == [], str(verdict)
    return verdict


def pauses_ms(verdict):
    """The pause of each fault: that of the partition that waited longest."""
    worst = {}
    for (fault, partition), pause in verdict.pauses_s.items():
        assert pause is not None, f"partition {partition} took no more messages after fault {fault}"
        worst[fault] = max(worst.get(fault, 0.0), pause * 1000)
    assert worst, "there was no fault"
    return list(worst.values())


def read_event(key, value, partition, offset):
    return {"event": "read", "key": key.decode(), "seq": int(value), "partition": partition, "offset": offset}
