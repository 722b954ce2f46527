"""A stock Kafka client in the cluster's network: writes and reads throughout a fault, and keeps the history.

Run by the harness inside the client's network namespace. It takes commands on its standard input, one a line, and
answers each with one line of JSON:

    state            what was sent, acknowledged (by partition), refused and read so far
    stop             stop writing, wait for every acknowledgement, read everything again, write the history, end
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

BOUND_S = 120
IN_FLIGHT_MAX = 500
KEYS_PER_PARTITION = 2
# How soon librdkafka gives up on an answer, and tries again, ms. Its own defaults (60 s, up to 10 s) would tell of it
# and not of the cluster.
SOCKET_TIMEOUT_MS = 500
CLIENT = {
    "socket.timeout.ms": SOCKET_TIMEOUT_MS,
    "socket.connection.setup.timeout.ms": 1000,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 100,
    "topic.metadata.refresh.fast.interval.ms": 50,
    "retry.backoff.ms": 20,
    "retry.backoff.max.ms": 100,
    "broker.address.ttl": 1000,
}


class Story:
    """What happened; safe to be told by several threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.events, self.acked, self.last, self.refused = [], Counter(), {}, []
        self.sent, self.settled = 0, 0
        self.reads = []

    def note_sent(self, key, seq):
        with self.lock:
            self.sent += 1
            self.events.append({"event": "sent", "key": key, "seq": seq, "t": time.time()})

    def note_settled(self, key, seq, error, message):
        now = time.time()
        with self.lock:
            self.settled += 1
            if error is not None:
                self.refused.append(f"{key}#{seq}: {error}")
                return
            partition = message.partition()
            self.acked[partition] += 1
            self.last[partition] = now
            event = {"event": "acked", "key": key, "seq": seq, "partition": partition, "offset": message.offset()}
            self.events.append({**event, "t": now})

    def state(self):
        with self.lock:
            return {
                "sent": self.sent,
                "settled": self.settled,
                "acked": dict(self.acked),
                "last": dict(self.last),
                "refused": self.refused[:5],
                "read": len(self.reads),
            }


class Load:
    def __init__(self, options):
        self.options, self.story = options, Story()
        self.partitions = range(options.partitions)
        self.common = {"bootstrap.servers": options.bootstrap, **CLIENT}
        self.ending, self.reading = threading.Event(), threading.Event()
        self.problem = None
        self.producer = Producer(
            {**self.common, "enable.idempotence": True, "linger.ms": 0, "delivery.timeout.ms": BOUND_S * 1000}
        )
        self.follower = self.consumer()
        self.starts = {p: self.end(p) for p in self.partitions}
        self.threads = [threading.Thread(target=self.guard, args=(work,)) for work in (self.write, self.follow)]

    def consumer(self):
        own = {"group.id": f"e2e-{self.options.prefix}", "enable.auto.commit": False, "auto.offset.reset": "error"}
        return Consumer({**self.common, **own, "check.crcs": True})

    def end(self, partition):
        """The end offset; asked again while nobody leads."""
        deadline = time.monotonic() + BOUND_S
        while True:
            try:
                _, end = self.follower.get_watermark_offsets(TopicPartition(self.options.topic, partition), 5)
                return end
            except KafkaException:
                if time.monotonic() > deadline:
                    raise

    def guard(self, work):
        try:
            work()
        except Exception as problem:  # told to the harness with the next state
            self.problem = repr(problem)

    def write(self):
        seq = 0
        while not self.ending.is_set():
            for key in range(len(self.partitions) * KEYS_PER_PARTITION):
                self.send(key, seq)
            self.producer.poll(0)
            while self.story.sent - self.story.settled > IN_FLIGHT_MAX and not self.ending.is_set():
                self.producer.poll(0.01)
            seq += 1
            self.ending.wait(self.options.pace)
        if self.producer.flush(BOUND_S):
            raise TimeoutError("messages stayed in the queue of the producer")

    def send(self, key, seq):
        name = f"{self.options.prefix}-{key}"
        self.story.note_sent(name, seq)

        def settled(error, message):
            self.story.note_settled(name, seq, error, message)

        partition = key % len(self.partitions)
        self.producer.produce(self.options.topic, str(seq), name, partition, on_delivery=settled)

    def follow(self):
        self.follower.assign([TopicPartition(self.options.topic, p, start) for p, start in self.starts.items()])
        while not self.reading.is_set():
            for message in self.follower.consume(500, 0.05):
                self.take(message, self.story.reads)
        self.follower.close()

    def take(self, message, reads):
        if message.error() is None:
            place = {"partition": message.partition(), "offset": message.offset()}
            reads.append({"event": "read", "key": message.key().decode(), "seq": int(message.value()), **place})

    def read_again(self):
        """Everything from where this load began, by a client that knows nothing yet."""
        reader, reads = self.consumer(), []
        reader.assign([TopicPartition(self.options.topic, p, start) for p, start in self.starts.items()])
        self.until("everything is read again", lambda: self.more(reader, reads))
        reader.close()
        return reads

    def more(self, reader, reads):
        for message in reader.consume(500, 0.1):
            self.take(message, reads)
        return len(reads) >= self.story.settled

    def until(self, what, condition):
        deadline = time.monotonic() + BOUND_S
        while not condition():
            if self.problem:
                raise RuntimeError(self.problem)
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {BOUND_S} s until {what}")
            time.sleep(0.01)

    def stop(self):
        self.ending.set()
        self.threads[0].join()
        self.until("the follower has read everything", lambda: len(self.story.reads) >= self.story.settled)
        self.reading.set()
        self.threads[1].join()
        again = self.read_again()
        for name, reads in (("followed", self.story.reads), ("again", again)):
            with open(f"{self.options.out}.{name}", "w", encoding="utf-8") as file:
                for event in [*self.story.events, *reads]:
                    file.write(json.dumps(event) + "\n")

    def serve(self):
        for thread in self.threads:
            thread.daemon = True
            thread.start()
        for line in sys.stdin:
            if line.strip() == "stop":
                try:
                    self.stop()
                except (TimeoutError, RuntimeError) as problem:
                    self.problem = self.problem or str(problem)
            print(json.dumps({**self.story.state(), "problem": self.problem}), flush=True)
            if line.strip() == "stop":
                return


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--prefix", required=True, help="of the keys: no other load may use it")
    parser.add_argument("--out", required=True, help="histories are written to OUT.followed and OUT.again")
    parser.add_argument("--pace", type=float, default=0.02, help="seconds between two rounds; the rate of the load")
    Load(parser.parse_args()).serve()


if __name__ == "__main__":
    main()
