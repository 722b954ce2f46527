"""Each client goes on through a kill -9 of the leader, in the middle of producing and of consuming."""

import shutil
import subprocess
import threading
import time

import faults
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from conftest import BOUND_S, unique, wait_until
from harness import history, metadata, targets
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPythonPartition


@pytest.fixture(autouse=True)
def whole(cluster):
    """Every test here begins and leaves behind a cluster with all its brokers."""
    cluster.verb("heal")
    yield
    cluster.verb("heal")


class ConfluentWriter:
    def __init__(self, bootstrap, topic, story, **config):
        self.topic, self.story = topic, story
        own = {key.replace("_", "."): value for key, value in config.items()}
        self.errors = []  # (Unix time, what the client told its application beside the fate of messages)
        settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0, "error_cb": self._noted}
        self.producer = Producer({**settings, **own})

    def _noted(self, error):
        self.errors.append((time.time(), str(error)))

    def send(self, partition, key, seq):
        def report(error, message):
            if error:
                self.story.refused(key, seq, error)
            else:
                self.story.acknowledged(key, seq, message.partition(), message.offset())

        self.producer.produce(self.topic, str(seq), key, partition, on_delivery=report)

    def poll(self):
        self.producer.poll(0)

    def finish(self):
        assert self.producer.flush(BOUND_S) == 0, "messages stayed in the queue"


class ConfluentReader:
    def __init__(self, bootstrap, topic, group=None):
        settings = {"bootstrap.servers": bootstrap, "auto.offset.reset": "earliest"}
        own = {"group.id": group or unique("reader"), "enable.auto.commit": group is not None}
        self.consumer = Consumer({**settings, **own, "session.timeout.ms": 10000, "heartbeat.interval.ms": 500})
        if group:
            self.consumer.subscribe([topic])
        else:
            self.consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(faults.PARTITIONS)])

    def some(self):
        found = self.consumer.consume(500, 0.05)
        return [
            faults.read_event(m.key(), m.value(), m.partition(), m.offset()) for m in found if m.error() is None
        ]

    def close(self):
        self.consumer.close()


class KafkaPythonWriter:
    def __init__(self, bootstrap, topic, story):
        self.topic, self.story = topic, story
        self.producer = KafkaProducer(bootstrap_servers=bootstrap.split(","), enable_idempotence=True, linger_ms=0)

    def send(self, partition, key, seq):
        future = self.producer.send(self.topic, str(seq).encode(), key.encode(), partition=partition)
        future.add_callback(lambda place: self.story.acknowledged(key, seq, place.partition, place.offset))
        future.add_errback(lambda error: self.story.refused(key, seq, error))

    def poll(self):
        pass

    def finish(self):
        self.producer.flush(BOUND_S)
        self.producer.close()


class KafkaPythonReader:
    def __init__(self, bootstrap, topic):
        self.consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), auto_offset_reset="earliest")
        self.consumer.assign([KafkaPythonPartition(topic, p) for p in range(faults.PARTITIONS)])
        self.consumer.seek_to_beginning()

    def some(self):
        return [
            faults.read_event(m.key, m.value, m.partition, m.offset)
            for batch in self.consumer.poll(50).values()
            for m in batch
        ]

    def close(self):
        self.consumer.close()


CLIENTS = {
    "confluent-kafka": (ConfluentWriter, ConfluentReader),
    "kafka-python": (KafkaPythonWriter, KafkaPythonReader),
}


class Follower:
    """Reads in a thread of its own, from the beginning and through the fault."""

    def __init__(self, reader):
        self.reader, self.reads, self.problem = reader, [], None
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self):
        try:
            while not self.ending.is_set():
                self.reads += self.reader.some()
        except Exception as problem:  # told to the test's own thread
            self.problem = problem
        finally:
            self.reader.close()

    def _seen(self):
        if self.problem is not None:
            raise self.problem
        return self.reads[:]

    def begun(self):
        """Waits until it has read something of every partition.

        librdkafka looks for the beginning anew when a broker dies that it had asked for it and that has not answered;
        it does so even where another one has answered meanwhile, and then reads everything once more.
        """
        wait_until("a reader begins", lambda: len({read["partition"] for read in self._seen()}) == faults.PARTITIONS)
        return self

    def until(self, messages):
        """Waits until this many different messages were read, and ends."""

        def there():
            return len({(read["key"], read["seq"]) for read in self._seen()}) >= messages

        try:
            wait_until(f"{messages} messages are read", there)
        finally:
            self.ending.set()
            self.thread.join()
        return self.reads


def read_all(reader, messages):
    return Follower(reader).until(messages)


@pytest.mark.parametrize("client", CLIENTS)
def test_kill_of_the_leader(cluster, bootstrap, make_topic, figure, client):
    writer, reader = CLIENTS[client]
    topic, story = make_topic(partitions=faults.PARTITIONS), faults.Story()
    with faults.Load(writer(bootstrap, topic, story), story) as load:
        follower = Follower(reader(bootstrap, topic)).begun()
        for _ in range(faults.ROUNDS):
            load.go_on("the load runs")
            victim = faults.strike(cluster, load, topic, "kill")
            cluster.verb("restart", victim)
            cluster.verb("wait-healthy")
        load.go_on("all partitions take messages after the restart")
        load.stop()
    verdict = faults.judged(story, follower.until(story.settled))
    faults.judged(story, read_all(reader(bootstrap, topic), story.settled))
    figure(client, targets.KILLED, faults.pauses_ms(verdict))


def test_a_frozen_leader_and_its_return(cluster, bootstrap, make_topic, figure):
    """SIGSTOP: nobody is told, only silence; and when it wakes up, it must not believe that it still leads.

    A client that waits for an answer of the frozen broker learns of it only by its own timeout, 60 s by default.
    """
    topic, story = make_topic(partitions=faults.PARTITIONS), faults.Story()
    writer = ConfluentWriter(bootstrap, topic, story, socket_timeout_ms=1000)
    with faults.Load(writer, story) as load:
        follower = Follower(ConfluentReader(bootstrap, topic)).begun()
        for _ in range(faults.ROUNDS):
            load.go_on("the load runs")
            frozen = cluster.leader(topic, 0)
            try:
                faults.strike(cluster, load, topic, "freeze")
            finally:
                cluster.verb("thaw", frozen)
            cluster.verb("wait-healthy")
        load.go_on("all partitions take messages after the thaw")
        load.stop()
    verdict = faults.judged(story, follower.until(story.settled))
    faults.judged(story, read_all(ConfluentReader(bootstrap, topic), story.settled))
    figure("confluent-kafka, socket timeout 1 s", targets.FROZEN, faults.pauses_ms(verdict))


def led_as_preferred(bootstrap, topic):
    seen = metadata.view(bootstrap, [topic]).partitions.values()
    return all(partition.leader == partition.replicas[0] for partition in seen)


def test_leadership_moves_back_unnoticed(cluster, bootstrap, make_topic, figure):
    """After a broker returns it leads again what it led, and a producer sees no error and hardly a pause."""
    topic, story = make_topic(partitions=faults.PARTITIONS), faults.Story()
    writer, pauses_ms = ConfluentWriter(bootstrap, topic, story), []
    with faults.Load(writer, story) as load:
        for _ in range(faults.ROUNDS):
            load.go_on("the load runs")
            # Brokers that came back from other tests lead again first.
            cluster.verb("rebalance")
            wait_until("preferred leaders lead", lambda: led_as_preferred(bootstrap, topic))
            before = cluster.led_by(topic, cluster.leader(topic, 0))
            victim = faults.strike(cluster, load, topic, "kill")
            cluster.verb("restart", victim)
            began = time.time()
            cluster.verb("wait-healthy")
            cluster.verb("rebalance")
            wait_until("it leads again what it led", lambda: cluster.led_by(topic, victim) == before)
            load.go_on("all partitions take messages after the move")
            ended = time.time()
            pauses_ms.append(max(history.longest_silence_s(story.events, p, began, ended) for p in before) * 1000)
            seen = [error for at, error in writer.errors if began < at < ended]
            assert seen == [], "the producer noticed the move"
        load.stop()
    faults.judged(story, read_all(ConfluentReader(bootstrap, topic), story.settled))
    figure("confluent-kafka", targets.MOVED, pauses_ms)


def coordinator_of(admin, group):
    return admin.describe_consumer_groups([group])[group].result(BOUND_S).coordinator.id


def test_a_group_outlives_its_coordinator(cluster, bootstrap, admin, make_topic, group):
    """Two members and their commits go on when the broker that coordinates them is killed."""
    topic, story = make_topic(partitions=faults.PARTITIONS), faults.Story()
    with faults.Load(ConfluentWriter(bootstrap, topic, story), story) as load:
        members = [Follower(ConfluentReader(bootstrap, topic, group)) for _ in range(2)]
        load.go_on("the load runs")
        wait_until("both members read", lambda: all(member.reads for member in members))
        victim = coordinator_of(admin, group)
        cluster.verb("kill", victim)
        load.go_on("the load goes on")
        cluster.verb("restart", victim)
        cluster.verb("wait-healthy")
        load.stop()

    def read():
        return {(event["key"], event["seq"]): event for member in members for event in member.reads[:]}

    wait_until("the group has read everything", lambda: len(read()) >= story.settled)
    for member in members:
        member.ending.set()
        member.thread.join()
        assert member.problem is None, member.problem
    lost = {(e["key"], e["seq"]) for e in story.events if e["event"] == "acked"} - set(read())
    assert lost == set()

    # Members commit when they leave; the topic holds nothing else, so the offsets add up to the messages. Asked with a
    # consumer: librdkafka 2.16's admin call crashes when the coordinator that it remembers is another's by now.
    asker = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    places = asker.committed([TopicPartition(topic, p) for p in range(faults.PARTITIONS)], BOUND_S)
    asker.close()
    assert sum(place.offset for place in places) == story.settled


def test_kcat_goes_on(cluster, bootstrap, make_topic):
    """kcat says nothing of single messages: it exits with 0 only when all were acknowledged."""
    kcat = shutil.which("kcat") or shutil.which("kafkacat")
    topic, story = make_topic(partitions=faults.PARTITIONS), faults.Story()
    idempotent = ["-X", "enable.idempotence=true", "-X", "linger.ms=0"]
    sender = subprocess.Popen(
        [kcat, "-b", bootstrap, "-P", "-t", topic, "-K", ":", *idempotent], stdin=subprocess.PIPE, text=True
    )
    reader = subprocess.Popen(
        [kcat, "-b", bootstrap, "-C", "-t", topic, "-o", "beginning", "-u", "-q", "-f", "%k %s %p %o\n"],
        stdout=subprocess.PIPE,
        text=True,
    )
    reads = []

    def follow():
        for line in reader.stdout:
            key, seq, partition, offset = line.split()
            reads.append(faults.read_event(key.encode(), seq, int(partition), int(offset)))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        sequence = iter(range(1_000_000))

        def feed():
            seq = next(sequence)
            for k in range(faults.KEYS):
                story.sent(f"key-{k}", seq)
                sender.stdin.write(f"key-{k}:{seq}\n")
            sender.stdin.flush()
            return True

        def feed_until_read(what, count):
            mark = len(reads) + count
            wait_until(what, lambda: feed() and len(reads) >= mark)

        feed_until_read("the load runs", 300)
        victim = cluster.leader(topic, 0)
        cluster.verb("kill", victim)
        for _ in range(100):
            feed()
        feed_until_read("messages come through again", 600)
        cluster.verb("restart", victim)
        cluster.verb("wait-healthy")
        feed_until_read("messages come after the restart", 300)
        sender.stdin.close()
        assert sender.wait(BOUND_S) == 0, "kcat could not deliver everything"
        total = sum(event["event"] == "sent" for event in story.events)
        wait_until("everything is read", lambda: len(reads) >= total)
    finally:
        for process in (sender, reader):
            process.kill()
            process.wait()
        thread.join()
    for key, seq in [(event["key"], event["seq"]) for event in story.events]:
        story.acknowledged(key, seq, partition=None, offset=-1)
    faults.judged(story, reads)
