"""How much memory a broker takes at its worst: idle connections, a client that reads nothing, and a storm of messages.

The bounds are the door's (256 MiB of requests, 256 MiB of fetched records for all connections together) and the shards';
the figure is printed, and judged only against their sum.
"""

import os
import resource
import socket
import struct
import threading

import own
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import wait_until
from harness import processes

IDLE = 1000
MIB = 1024 * 1024
# Requests and fetched records of the door, what a log's end keeps, and the rest; with room for the allocator.
RESIDENT_MAX = 1024 * MIB
STORM_MESSAGES = 20_000
MESSAGE_BYTES = 16 * 1024
PRODUCERS = 4
FETCH_KEY, FETCH_VERSION, PLAINTEXT_CLIENT = 1, 4, b"silent"


def address(cluster, broker):
    host, _, port = cluster.broker(broker)["kafka"].rpartition(":")
    return host, int(port)


def fetch(topic, offset):
    """A Fetch (version 4) of one partition, as much as there is."""
    name = topic.encode()
    body = struct.pack(">iiiibi", -1, 0, 1, 64 * MIB, 0, 1) + struct.pack(">h", len(name)) + name
    body += struct.pack(">iiqi", 1, 0, offset, 64 * MIB)
    head = struct.pack(">hhih", FETCH_KEY, FETCH_VERSION, 1, len(PLAINTEXT_CLIENT)) + PLAINTEXT_CLIENT
    return struct.pack(">i", len(head + body)) + head + body


def storm(bootstrap, topic):
    failed = []
    settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0}
    producer = Producer({**settings, "queue.buffering.max.kbytes": 65_536})
    for number in range(STORM_MESSAGES // PRODUCERS):
        while True:
            try:
                producer.produce(topic, str(number).ljust(MESSAGE_BYTES), on_delivery=lambda e, _: e and failed.append(e))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(own.BOUND_S) == 0 and not failed, failed[:1]


def test_a_broker_stays_within_its_memory():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    with own.cluster(own.policy(shards=1)) as cluster:
        topic = "storm"
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        for made in admin.create_topics([NewTopic(topic, 1, own.BROKERS)]).values():
            made.result(own.BOUND_S)
        wait_until("the topic has a leader", lambda: cluster.leader(topic) >= 0)
        cluster.wait_healthy()
        leader = cluster.leader(topic)

        def resident():
            return processes.usage(cluster.pid(leader)).resident_bytes

        figures = {"at rest": resident()}
        idle = [socket.create_connection(address(cluster, leader)) for _ in range(IDLE)]
        silent = socket.create_connection(address(cluster, leader))
        try:
            figures[f"{IDLE} idle connections"] = resident()
            storm(cluster.bootstrap, topic)
            # It asks for everything, over and over, and reads no answer.
            silent.setblocking(False)
            sent = fetch(topic, 0)
            for _ in range(1000):
                try:
                    silent.send(sent)
                except BlockingIOError:
                    break
            writers = [threading.Thread(target=storm, args=(cluster.bootstrap, topic)) for _ in range(PRODUCERS)]
            for writer in writers:
                writer.start()
            peak = 0
            while any(writer.is_alive() for writer in writers):
                peak = max(peak, resident())
                writers[0].join(0.05)
                writers = [writer for writer in writers if writer.is_alive()] or writers[:1]
            figures["a client that reads nothing, and a storm"] = peak
        finally:
            for connection in [*idle, silent]:
                connection.close()
        for what, size in figures.items():
            print(f"resident memory of a leader, {what}: {size / MIB:.0f} MiB")
        if path := os.environ.get("NOTES"):
            with open(path, "a", encoding="utf-8") as notes:
                notes.writelines(f"resident memory, {what}: {size / MIB:.0f} MiB\n" for what, size in figures.items())
        assert max(figures.values()) < RESIDENT_MAX
