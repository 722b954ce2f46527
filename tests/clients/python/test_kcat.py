"""kcat, as it comes with Debian."""

import json
import shutil
import subprocess
import time

import pytest
from conftest import BOUND_S, hours_ago_ms, unique

KCAT = shutil.which("kcat") or shutil.which("kafkacat")


@pytest.fixture
def kcat(bootstrap):
    def run(*words, text=None):
        done = subprocess.run(
            [KCAT, "-b", bootstrap, *words], input=text, capture_output=True, text=True, timeout=BOUND_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_metadata(kcat, make_topic):
    topic = make_topic(partitions=3)
    found = json.loads(kcat("-L", "-J"))
    assert sorted(broker["id"] for broker in found["brokers"]) == [0, 1, 2]
    (partitions,) = [each["partitions"] for each in found["topics"] if each["topic"] == topic]
    assert [sorted(replica["id"] for replica in each["isrs"]) for each in partitions] == [[0, 1, 2]] * 3


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(kcat, topic, acks):
    sent = "".join(f"message {i}\n" for i in range(200))
    kcat("-P", "-t", topic, "-X", f"acks={acks}", text=sent)
    assert kcat("-C", "-t", topic, "-c", "200") == sent  # a fixed count: with acks=0 the end may still be on its way


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression(kcat, topic, codec):
    sent = "".join("compressible " * 20 + f"{i}\n" for i in range(200))
    # Debian's kcat takes the first three by -z, and zstd only as a setting.
    kcat("-P", "-t", topic, "-X", f"compression.codec={codec}", "-X", "linger.ms=20", text=sent)
    assert kcat("-C", "-t", topic, "-e", "-q") == sent


def test_keys_headers_and_nulls(kcat, topic):
    kcat("-P", "-t", topic, "-K", ":", "-H", "a=1", "-H", "b=2", text="key:value\n")
    kcat("-P", "-t", topic, "-K", ":", "-Z", text="tombstone:\n")
    found = [json.loads(line) for line in kcat("-C", "-t", topic, "-e", "-q", "-J").splitlines()]
    assert [(each["key"], each["payload"]) for each in found] == [("key", "value"), ("tombstone", None)]
    assert found[0]["headers"] == ["a", "1", "b", "2"]


def test_offsets_for_a_time(kcat, topic):
    early = hours_ago_ms(1)
    kcat("-P", "-t", topic, text="first\n")
    assert kcat("-Q", "-t", f"{topic}:0:{early}").split() == [topic, "[0]", "offset", "0"]
    assert kcat("-Q", "-t", f"{topic}:0:-1").split() == [topic, "[0]", "offset", "1"]
    kcat("-P", "-t", topic, text="second\nthird\n")
    assert kcat("-C", "-t", topic, "-o", "-2", "-e", "-q") == "second\nthird\n"
    assert kcat("-C", "-t", topic, "-o", f"s@{int(time.time() * 1000) + 3_600_000}", "-e", "-q") == ""
    assert kcat("-C", "-t", topic, "-o", "1", "-c", "1", "-q") == "second\n"


def test_group(kcat, make_topic):
    topic = make_topic(partitions=3)
    group = unique("kcat")
    sent = {f"message {i}" for i in range(60)}
    kcat("-P", "-t", topic, text="".join(f"{line}\n" for line in sent))
    settings = ["-X", "auto.offset.reset=earliest", "-q"]
    first = kcat("-G", group, "-c", "20", *settings, topic).split("\n")[:-1]
    second = kcat("-G", group, "-e", *settings, topic).split("\n")[:-1]
    assert len(first) == 20
    assert set(first) | set(second) == sent
    assert len(second) < 60, "nothing was committed by the first member"
