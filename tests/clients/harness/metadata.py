"""Asks a Kafka-speaking broker who leads what, and how much there is: Metadata and ListOffsets, version 1 of each, over a
plain socket.

Independent of every client under test, and of the files that a cluster keeps about itself.
"""

import socket
import struct
import time
from dataclasses import dataclass

LIST_OFFSETS_KEY, METADATA_KEY = 2, 3
VERSION = 1
# Timestamps that ListOffsets takes for the two ends.
LATEST, EARLIEST = -1, -2
ANSWER_BYTES_MAX = 64 * 1024 * 1024
DIAL_TIMEOUT_S = 3.0


class Unavailable(Exception):
    """No broker gave a usable answer."""


@dataclass(frozen=True)
class Partition:
    topic: str
    partition: int
    error: int
    leader: int
    replicas: tuple
    isr: tuple


@dataclass(frozen=True)
class View:
    """The cluster as one broker sees it."""

    brokers: dict  # id -> (host, port)
    partitions: dict  # (topic, partition) -> Partition


class _Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, form):
        (value,) = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return value

    def string(self):
        length = self.take("h")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def array(self, item):
        return [item() for _ in range(max(self.take("i"), 0))]


def _exactly(connection, count):
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise Unavailable("the connection was closed in the middle of an answer")
        data += piece
    return bytes(data)


def _string(text):
    return struct.pack(">h", len(text)) + text.encode()


def _ask_metadata(address, topics):
    asked = -1 if topics is None else len(topics)
    body = struct.pack(">i", asked) + b"".join(map(_string, topics or []))
    return _exchange(address, METADATA_KEY, body)


def _exchange(address, key, body):
    request = struct.pack(">hhi", key, VERSION, 1) + _string("harness") + body
    with socket.create_connection(address, DIAL_TIMEOUT_S) as connection:
        connection.settimeout(DIAL_TIMEOUT_S)
        connection.sendall(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", _exactly(connection, 4))
        if not 4 <= length <= ANSWER_BYTES_MAX:
            raise Unavailable(f"an answer of {length} bytes")
        return _exactly(connection, length)


def _parse(answer):
    reader = _Reader(answer)
    reader.take("i")  # correlation id

    def broker():
        return reader.take("i"), reader.string(), reader.take("i"), reader.string()

    brokers = {id: (host, port) for id, host, port, _rack in reader.array(broker)}
    reader.take("i")  # controller
    partitions = {}

    def topic():
        reader.take("h")
        name = reader.string()
        reader.take("b")

        def partition():
            error, index, leader = reader.take("h"), reader.take("i"), reader.take("i")
            replicas = tuple(reader.array(lambda: reader.take("i")))
            isr = tuple(reader.array(lambda: reader.take("i")))
            partitions[name, index] = Partition(name, index, error, leader, replicas, isr)

        reader.array(partition)

    reader.array(topic)
    return View(brokers, partitions)


def view(bootstrap, topics=None):
    """The cluster as the first broker of `bootstrap` that answers sees it."""
    problems = []
    for entry in bootstrap.split(","):
        host, _, port = entry.rpartition(":")
        try:
            return _parse(_ask_metadata((host, int(port)), topics))
        except (OSError, struct.error, Unavailable) as problem:
            problems.append(f"{entry}: {problem}")
    raise Unavailable("; ".join(problems))


def offset(address, topic, partition, which):
    """Where a partition begins or ends, as its leader at this (host, port) says."""
    body = struct.pack(">ii", -1, 1) + _string(topic) + struct.pack(">iiq", 1, partition, which)
    reader = _Reader(_exchange(address, LIST_OFFSETS_KEY, body))
    for _ in ("correlation id", "topics"):
        reader.take("i")
    reader.string()
    for _ in ("partitions", "partition"):
        reader.take("i")
    error, _timestamp, found = reader.take("h"), reader.take("q"), reader.take("q")
    if error:
        raise Unavailable(f"offsets of {topic}/{partition}: error {error}")
    return found


def wait_until(what, condition, timeout_s, pause_s=0.05):
    """Polls until `condition()` is true and returns its value; says what was last seen when it never is."""
    deadline = time.monotonic() + timeout_s
    problem = "it stayed false"
    while time.monotonic() < deadline:
        try:
            value = condition()
            if value:
                return value
            problem = "it stayed false"
        except (OSError, Unavailable, LookupError) as error:
            problem = str(error)
        time.sleep(pause_s)
    raise TimeoutError(f"gave up after {timeout_s:.0f} s waiting until {what}: {problem}")


def leader(bootstrap, topic, partition):
    """The id of the broker that leads the partition; LookupError while it has none."""
    found = view(bootstrap, [topic]).partitions.get((topic, partition))
    if found is None or found.leader < 0:
        raise LookupError(f"{topic}-{partition} has no leader")
    return found.leader


def healthy(bootstrap, brokers):
    """Whether `brokers` brokers are up, every partition has its leader and every replica is in sync."""
    seen = view(bootstrap)
    return len(seen.brokers) == brokers and all(
        p.leader >= 0 and len(p.isr) == len(p.replicas) for p in seen.partitions.values()
    )
