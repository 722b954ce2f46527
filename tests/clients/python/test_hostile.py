"""Bytes that no client of ours sends, to every port of a real broker; and connections in numbers.

Each hostile connection is closed, with the reason in the broker's log where it was the client's fault, while others go on
producing. Ten thousand idle connections, and clients that ask and read nothing, cost bounded memory, which is printed.
"""

import os
import random
import resource
import socket
import struct
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager

import own
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import wait_until
from harness import processes

MIB = 1024 * 1024
TOPIC = "witnessed"
IDLE = 10_000
# What one idle connection may cost: two tasks, a buffer of 16 KiB that is touched where something was read, and its queue.
IDLE_BYTES_EACH_MAX = 32 * 1024
SILENT = 64
# The door's bounds on requests and on fetched records (256 MiB each), the log's own, and the allocator's slack.
SILENT_BYTES_MAX = 768 * MIB
# Files that the test itself needs beside the connections.
FILES_SPARE = 500


@contextmanager
def one_broker(prefix=()):
    """A broker alone, with a topic; `prefix` goes before its command."""
    spec = {"brokers": 1, "replicas": 1, "minInSyncReplicas": 1, "shards": 1}
    with ExitStack() as stack:
        binary = os.environ["HOLDFAST"]
        if prefix:
            binary = stack.enter_context(wrapped(binary, prefix))
        cluster = stack.enter_context(own.cluster(own.policy(**spec), binary=binary, brokers=1))
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        for made in admin.create_topics([NewTopic(TOPIC, 1, 1)]).values():
            made.result(own.BOUND_S)
        wait_until("the topic has a leader", lambda: cluster.leader(TOPIC) >= 0)
        yield cluster


@contextmanager
def wrapped(binary, prefix):
    """A script that runs the binary under `prefix`."""
    with tempfile.TemporaryDirectory(prefix="holdfast-wrapped-") as directory:
        path = os.path.join(directory, "holdfast")
        with open(path, "w", encoding="utf-8") as script:
            script.write(f'#!/bin/sh\n{"; ".join(prefix)}\nexec "{binary}" "$@"\n')
        os.chmod(path, 0o755)
        yield path


class Witness:
    """Another client, which goes on producing whatever happens."""

    def __init__(self, bootstrap):
        self.acknowledged, self.errors, self.stopped = 0, [], False
        settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0, "linger.ms": 0}
        self.producer = Producer({**settings, "error_cb": self.errors.append})
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.stopped:
            self.producer.produce(TOPIC, b"x" * 100, on_delivery=self._delivered)
            self.producer.flush(own.BOUND_S)

    def _delivered(self, error, _message):
        if error:
            self.errors.append(error)
        else:
            self.acknowledged += 1

    def goes_on(self):
        before = self.acknowledged
        wait_until("the other client goes on", lambda: self.acknowledged > before + 3)
        assert not self.errors, self.errors[:3]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.thread.join()


def address(port_of):
    host, _, port = port_of.rpartition(":")
    return host, int(port)


def framed(body):
    return struct.pack(">i", len(body)) + body


def request(key, version, body, client=b"\xff\xff"):
    return framed(struct.pack(">hhi", key, version, 7) + client + body)


# What is sent to the Kafka door, and what its log says of it.
HOSTILE = {
    "a frame of 2 GiB": (b"\x7f\xff\xff\xff", "a frame of 2147483647 bytes can't be"),
    "a negative length": (b"\xff\xff\xff\xff", "a frame of -1 bytes can't be"),
    "half a header": (b"\0\0\0\3\0\x12\0", "a frame of 3 bytes can't be"),
    "an API that is not served": (request(71, 0, b""), "the API 71 is not served"),
    "a version that is not served": (request(0, 99, b""), "version 99 of the API 0 is not served"),
    "a client id of 32 KiB": (framed(struct.pack(">hhih", 3, 0, 7, 0x7FFF)), "cut short"),
    "two thousand million topics": (request(3, 1, b"\x7f\xff\xff\xff"), "elements at byte"),
    "a produce that asks the decoder for 25 GB": (
        request(0, 8, struct.pack(">hhii", -1, 1, 1000, 0x7FFFFFFF)), "elements at byte"),
    "tagged fields without end": (request(18, 3, b"\x02a\x02a\xff\xff\xff\xff\x0f", b"\xff\xff\0"), "elements at byte"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "a frame of"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0", "a frame of"),
}


def closed(connection):
    """Whether the other side closes in time; what it sends before does not count."""
    connection.settimeout(own.BOUND_S)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_hostile_frames_close_their_connection_with_a_reason_and_no_other():
    with one_broker() as cluster, Witness(cluster.bootstrap) as witness:
        door = address(cluster.broker(0)["kafka"])
        pid = cluster.pid(0)
        for what, (sent, reason) in HOSTILE.items():
            with socket.create_connection(door) as connection:
                mine = ":".join(map(str, connection.getsockname()))
                connection.sendall(sent)
                assert closed(connection), what

            def told():
                lines = [line for line in cluster.log_of(0).splitlines() if mine in line]
                return any("connection closed" in line and reason in line for line in lines)

            wait_until(f"the log says why {what} is closed: {reason}", told)
            witness.goes_on()
        # Noise behind a length that is right, with every key and version there is and is not.
        dice = random.Random(7)
        for number in range(300):
            body = struct.pack(">hhi", dice.randrange(-1, 80), dice.randrange(-1, 20), number) + dice.randbytes(dice.randrange(200))
            with socket.create_connection(door) as connection:
                connection.sendall(framed(body))
                connection.shutdown(socket.SHUT_WR)
                assert closed(connection)
        witness.goes_on()
        assert cluster.pid(0) == pid, "it is still the same process"
        assert "panicked" not in cluster.log_of(0)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload):
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, 0, b"")
GRPC = {
    "noise": random.Random(8).randbytes(5000),
    "a Kafka request": request(18, 0, b""),
    "a preface and noise": PREFACE + random.Random(9).randbytes(5000),
    "a frame of 16 MiB": PREFACE + SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1",
    "headers that are no HPACK": PREFACE + SETTINGS + frame(1, 4, 1, b"\xff" * 1000),
    "a dynamic table of 2 GiB": PREFACE + SETTINGS + frame(1, 4, 1, b"\x3f\xe1\xff\xff\xff\x07"),
    "continuations without end": PREFACE + SETTINGS + frame(1, 0, 1, b"") + frame(9, 0, 1, b"\x40\x01a\x01b" * 2000) * 200,
    "streams that are reset at once": PREFACE + SETTINGS
    + b"".join(frame(1, 4, number, b"\x82") + frame(3, 0, number, b"\0\0\0\x08") for number in range(1, 20_001, 2)),
    "a window that overflows": PREFACE + SETTINGS + frame(8, 0, 0, b"\x7f\xff\xff\xff"),
}


def test_noise_on_the_ports_of_operators_and_probes_harms_nobody():
    with one_broker() as cluster, Witness(cluster.bootstrap) as witness:
        pid = cluster.pid(0)
        before = processes.usage(pid).resident_bytes
        kafka = address(cluster.broker(0)["kafka"])
        for port in listening(pid) - {kafka[1]}:
            for what, sent in GRPC.items():
                with socket.create_connection((kafka[0], port)) as connection:
                    try:
                        connection.sendall(sent)
                        connection.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass
                    assert closed(connection), (port, what)
            witness.goes_on()
        assert cluster.pid(0) == pid, "it is still the same process"
        log = cluster.log_of(0)
        assert "panicked" not in log
        assert processes.usage(pid).resident_bytes < before + 64 * MIB


def listening(pid):
    """The TCP ports on which a process listens."""
    inodes = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    with open("/proc/net/tcp", encoding="utf-8") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes}


@contextmanager
def files(needed):
    """Room for so many open files in this process, and in those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= needed, f"this needs {needed} open files, and may have {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def note(what, size):
    line = f"resident memory of a broker, {what}: {size / MIB:.0f} MiB"
    print(line)
    if path := os.environ.get("NOTES"):
        with open(path, "a", encoding="utf-8") as notes:
            notes.write(line + "\n")


def versions(connection):
    """Asks for the versions, and waits for the answer: the broker has accepted and served it."""
    connection.sendall(request(18, 0, b""))
    connection.settimeout(own.BOUND_S)
    (length,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
    return len(connection.recv(length, socket.MSG_WAITALL)) == length


def test_ten_thousand_idle_connections_cost_bounded_memory():
    with files(IDLE + FILES_SPARE), one_broker() as cluster, Witness(cluster.bootstrap) as witness, ExitStack() as stack:
        door, pid = address(cluster.broker(0)["kafka"]), cluster.pid(0)
        witness.goes_on()
        before = processes.usage(pid).resident_bytes
        note("at rest", before)
        idle = []
        for _ in range(IDLE):
            connection = stack.enter_context(socket.create_connection(door))
            idle.append(connection)
            assert versions(connection), f"connection {len(idle)} is served"
        after = processes.usage(pid).resident_bytes
        note(f"{IDLE} idle connections", after)
        assert after - before < IDLE * IDLE_BYTES_EACH_MAX, f"{(after - before) / IDLE:.0f} bytes each"
        witness.goes_on()
        # All of them still serve.
        assert all(versions(connection) for connection in idle[:: IDLE // 100])


def test_clients_that_read_nothing_cost_bounded_memory():
    with files(4096), one_broker() as cluster, ExitStack() as stack:
        door, pid = address(cluster.broker(0)["kafka"]), cluster.pid(0)
        producer = Producer({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        for _ in range(200):
            producer.produce(TOPIC, os.urandom(900_000))
            producer.poll(0)
            if len(producer) > 50:
                producer.flush(own.BOUND_S)
        assert producer.flush(own.BOUND_S) == 0
        before = processes.usage(pid).resident_bytes
        name = TOPIC.encode()
        body = struct.pack(">iiiibi", -1, 0, 1, 64 * MIB, 0, 1) + struct.pack(">h", len(name)) + name
        body += struct.pack(">iiqi", 1, 0, 0, 64 * MIB)
        asked = request(1, 4, body) * 1000
        peak = before
        for _ in range(SILENT):
            connection = stack.enter_context(socket.create_connection(door))
            connection.setblocking(False)
            try:
                connection.send(asked)
            except BlockingIOError:
                pass
            peak = max(peak, processes.usage(pid).resident_bytes)
        with Witness(cluster.bootstrap) as witness:
            until = time.monotonic() + 5
            while time.monotonic() < until:
                witness.goes_on()
                peak = max(peak, processes.usage(pid).resident_bytes)
        note("before clients that read nothing", before)
        note(f"{SILENT} clients that ask for everything and read nothing", peak)
        assert peak < before + SILENT_BYTES_MAX


def test_a_broker_without_room_for_more_files_goes_on_serving():
    """Connections beyond what the system lets it open are refused; logs and clients that are served miss no file."""
    with files(4096), one_broker(["ulimit -n 1024"]) as cluster, Witness(cluster.bootstrap) as witness:
        door, pid = address(cluster.broker(0)["kafka"]), cluster.pid(0)
        with ExitStack() as stack:
            for _ in range(2000):
                stack.enter_context(socket.create_connection(door))
            # Long enough that the log begins other segments, which needs files.
            for _ in range(10):
                witness.goes_on()
            wait_until("it says so", lambda: "too many connections" in cluster.log_of(0))
            assert len(os.listdir(f"/proc/{pid}/fd")) < 1024
        assert cluster.pid(0) == pid, "it is still the same process"

        def served():
            try:
                with socket.create_connection(door) as connection:
                    return versions(connection)
            except (OSError, struct.error):
                return False

        wait_until("there is room again", served)
