"""The checker must be able to fail: each kind of broken history is told from a sound one."""

import subprocess
import sys

import pytest
from harness import history


def sound():
    """Two keys in two partitions, ten messages each; the last of each was sent but never acknowledged."""
    events = []
    for partition, key in enumerate(["a", "b"]):
        for seq in range(10):
            t = 100.0 + seq
            events.append({"event": "sent", "key": key, "seq": seq, "t": t})
            place = {"key": key, "seq": seq, "partition": partition, "offset": seq}
            if seq < 9:
                events.append({"event": "acked", **place, "t": t + 0.5})
                events.append({"event": "read", **place})
    return events


def reads_of(events, key):
    return [e for e in events if e["event"] == "read" and e["key"] == key]


def renumber(events):
    """Gives the reads the offsets of their order, as the log of a broker would, and forgets those in the acks."""
    following = {}
    for event in events:
        if event["event"] == "read":
            event["offset"] = following.get(event["partition"], 0)
            following[event["partition"]] = event["offset"] + 1
        elif event["event"] == "acked":
            event["offset"] = -1
    return events


def test_a_sound_history_passes():
    verdict = history.judge(sound())
    assert verdict.problems == []
    assert (verdict.sent, verdict.acked, verdict.read) == (20, 18, 18)


def test_an_unacknowledged_message_may_be_there():
    events = sound() + [{"event": "read", "key": "a", "seq": 9, "partition": 0, "offset": 9}]
    assert history.judge(events).problems == []


def test_lost_in_the_middle():
    events = sound()
    events.remove(reads_of(events, "a")[4])
    assert history.judge(renumber(events)).kinds == {"lost"}


def test_lost_at_the_end():
    events = sound()
    events.remove(reads_of(events, "b")[-1])
    assert history.judge(events).kinds == {"lost"}


def duplicate():
    events = sound()
    read = reads_of(events, "a")[4]
    events.insert(events.index(read) + 1, dict(read))
    return renumber(events)


def test_duplicated():
    assert history.judge(duplicate()).kinds == {"duplicated"}
    assert history.judge(duplicate(), history.AT_LEAST_ONCE).problems == []


def test_a_late_duplicate_is_both():
    events = sound()
    events.append(dict(reads_of(events, "a")[2]))
    assert history.judge(renumber(events)).kinds == {"duplicated", "reordered"}
    assert history.judge(events, history.AT_LEAST_ONCE).problems == []


@pytest.mark.parametrize("mode", [history.EXACTLY_ONCE, history.AT_LEAST_ONCE])
def test_reordered(mode):
    events = sound()
    reads = reads_of(events, "a")
    reads[3]["seq"], reads[6]["seq"] = reads[6]["seq"], reads[3]["seq"]
    assert history.judge(renumber(events), mode).kinds == {"reordered"}


@pytest.mark.parametrize("seq", [9999, 3])
def test_phantom(seq):
    events = sound() + [{"event": "read", "key": "c", "seq": seq, "partition": 2, "offset": 0}]
    assert history.judge(events).kinds == {"phantom"}


def test_moved():
    events = sound()
    for event in events:
        if event["event"] == "acked" and event["key"] == "a":
            event["offset"] += 1
    assert history.judge(events).kinds == {"moved"}


def test_misrouted():
    events = sound()
    strayed = reads_of(events, "a")[-1]
    events.remove(strayed)
    events.append({**strayed, "partition": 1, "offset": 9})
    assert history.judge(events).kinds == {"misrouted", "moved"}


def test_gap():
    events = sound()
    for event in events:
        if event["event"] != "sent" and event["key"] == "b" and event["seq"] >= 5:
            event["offset"] += 3
    assert history.judge(events).kinds == {"gap"}


def test_a_reader_that_goes_back_is_caught():
    events = sound()
    first, second = reads_of(events, "a")[4:6]
    here, there = events.index(first), events.index(second)
    events[here], events[there] = second, first
    assert "gap" in history.judge(events).kinds


def test_the_pause_of_a_fault_is_the_longest_silence_until_it_is_over():
    fault = {"event": "fault", "kind": "kill", "partitions": [0, 7], "t": 103.2}
    # Acknowledged at 103.5 (sent before the fault) and at 104.5 and on; the one sent at 109.0 never.
    assert history.judge(sound() + [fault]).pauses_s == {(0, 0): pytest.approx(1.0), (0, 7): None}
    late = [event for event in sound() if event["event"] != "acked" or not 104 < event["t"] < 107]
    over = {"event": "recovered", "t": 108.0}
    assert history.judge(late + [fault, over]).pauses_s == {(0, 0): pytest.approx(4.0), (0, 7): None}
    early = {"event": "recovered", "t": 104.0}
    assert history.judge(late + [fault, early]).pauses_s == {(0, 0): None, (0, 7): None}


def test_the_longest_silence():
    assert history.longest_silence_s(sound(), 0, 102.0, 104.0) == pytest.approx(1.0)
    assert history.longest_silence_s(sound(), 0, 105.0, 120.0) == pytest.approx(11.5)


def test_the_command_line_tells_good_from_bad_and_from_nothing(tmp_path):
    import json

    def run(events):
        path = tmp_path / "history"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        return subprocess.run([sys.executable, history.__file__, path], capture_output=True, check=False).returncode

    assert [run(sound()), run(duplicate()), run([])] == [0, 1, 2]
