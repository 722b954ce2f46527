package clients

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// leader returns a way to ask the broker that leads partition 0 of a topic, its address and the topic's id.
func leader(t *testing.T, name string) (*kgo.Broker, string, [16]byte) {
	t.Helper()
	found, err := admin(t).Metadata(bounded(t), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, broker := range found.Brokers {
		if broker.NodeID == found.Topics[name].Partitions[0].Leader {
			address := net.JoinHostPort(broker.Host, strconv.Itoa(int(broker.Port)))
			return client(t).Broker(int(broker.NodeID)), address, found.Topics[name].ID
		}
	}
	t.Fatalf("no leader for %s", name)
	return nil, "", [16]byte{}
}

func fetchRequest(name string, id [16]byte, offset int64, waitMs, bytesMin int32) *kmsg.FetchRequest {
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = waitMs, bytesMin, 1<<20
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = name, id
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.FetchOffset, partition.PartitionMaxBytes = offset, 1<<20
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	return request
}

// fetch returns the size of what was fetched, the error and the time that it took.
func fetch(t *testing.T, broker *kgo.Broker, request *kmsg.FetchRequest) (int, error, time.Duration) {
	t.Helper()
	began := time.Now()
	answer, err := request.RequestWith(bounded(t), asRequestor{broker})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if answer.ErrorCode != 0 || len(answer.Topics) == 0 {
		return 0, kerr.ErrorForCode(answer.ErrorCode), took
	}
	partition := answer.Topics[0].Partitions[0]
	return len(partition.RecordBatches), kerr.ErrorForCode(partition.ErrorCode), took
}

type asRequestor struct{ *kgo.Broker }

func TestLongPoll(t *testing.T) {
	name := topic(t, 1, nil)
	broker, _, id := leader(t, name)

	if size, err, took := fetch(t, broker, fetchRequest(name, id, 0, 700, 1)); size != 0 || err != nil || took < 650*time.Millisecond {
		t.Fatalf("nothing there: %d bytes, %v, after %v", size, err, took)
	}

	arrived := make(chan time.Time, 1)
	go func() {
		fetch(t, broker, fetchRequest(name, id, 0, 60_000, 1))
		arrived <- time.Now()
	}()
	produce(t, client(t), numbered(name, 1)...)
	acked := time.Now()
	select {
	case at := <-arrived:
		if late := at.Sub(acked); late > 5*time.Second {
			t.Fatalf("woken %v after the message was there", late)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a waiting fetch was not woken by a message")
	}

	// One message is there, but less than was asked for: it is handed out when the time is up, not before.
	if size, err, took := fetch(t, broker, fetchRequest(name, id, 0, 700, 100_000)); size == 0 || err != nil || took < 650*time.Millisecond {
		t.Fatalf("fewer than the minimum: %d bytes, %v, after %v", size, err, took)
	}
	if size, err, took := fetch(t, broker, fetchRequest(name, id, 0, 30_000, 10)); size == 0 || err != nil || took > 10*time.Second {
		t.Fatalf("more than the minimum: %d bytes, %v, after %v", size, err, took)
	}
}

func TestFetchIsFencedByEpochAndOffset(t *testing.T) {
	name := topic(t, 1, nil)
	produce(t, client(t), numbered(name, 3)...)
	broker, _, id := leader(t, name)
	found, err := admin(t).ListTopics(bounded(t), name)
	if err != nil {
		t.Fatal(err)
	}
	epoch := found[name].Partitions[0].LeaderEpoch
	cases := []struct {
		what  string
		set   func(*kmsg.FetchRequestTopicPartition)
		wants error
	}{
		{"the present epoch", func(p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = epoch }, nil},
		{"an epoch to come", func(p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = epoch + 7 }, kerr.UnknownLeaderEpoch},
		{"past the end", func(p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = 1000 }, kerr.OffsetOutOfRange},
		{"before the start", func(p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = -5 }, kerr.OffsetOutOfRange},
	}
	if epoch > 0 {
		cases = append(cases, cases[1])
		last := &cases[len(cases)-1]
		last.what, last.wants = "an old epoch", kerr.FencedLeaderEpoch
		last.set = func(p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = epoch - 1 }
	}
	for _, each := range cases {
		request := fetchRequest(name, id, 0, 100, 1)
		each.set(&request.Topics[0].Partitions[0])
		if _, err, _ := fetch(t, broker, request); !errors.Is(err, each.wants) {
			t.Errorf("%s: got %v", each.what, err)
		}
	}
	if _, err, _ := fetch(t, broker, fetchRequest(name, [16]byte{1, 2, 3}, 0, 100, 1)); !errors.Is(err, kerr.UnknownTopicID) {
		t.Errorf("an unknown topic id: got %v", err)
	}

	ask := kmsg.NewPtrOffsetForLeaderEpochRequest()
	topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
	topic.Topic = name
	partition := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	partition.CurrentLeaderEpoch, partition.LeaderEpoch = epoch, epoch
	topic.Partitions = append(topic.Partitions, partition)
	ask.Topics = append(ask.Topics, topic)
	answer, err := ask.RequestWith(bounded(t), asRequestor{broker})
	if err != nil || answer.Topics[0].Partitions[0].ErrorCode != 0 || answer.Topics[0].Partitions[0].EndOffset != 3 {
		t.Errorf("the end of the present epoch: %+v %v", answer, err)
	}
}

func producerID(t *testing.T) (int64, int16) {
	t.Helper()
	request := kmsg.NewPtrInitProducerIDRequest()
	request.ProducerID, request.ProducerEpoch = -1, -1
	answer, err := request.RequestWith(bounded(t), client(t))
	if err != nil || answer.ErrorCode != 0 || answer.ProducerID < 0 {
		t.Fatalf("producer id: %+v %v", answer, err)
	}
	return answer.ProducerID, answer.ProducerEpoch
}

// batch is one RecordBatch v2 with one record, as a producer with these numbers sends it.
func batch(id int64, epoch int16, sequence int32) []byte {
	record := kmsg.Record{Value: []byte("value"), Length: 11}
	now := time.Now().UnixMilli()
	made := kmsg.RecordBatch{
		Magic: 2, FirstTimestamp: now, MaxTimestamp: now, PartitionLeaderEpoch: -1,
		ProducerID: id, ProducerEpoch: epoch, FirstSequence: sequence, NumRecords: 1, Records: record.AppendTo(nil),
	}
	encoded := made.AppendTo(nil)
	binary.BigEndian.PutUint32(encoded[8:], uint32(len(encoded)-12))
	binary.BigEndian.PutUint32(encoded[17:], crc32.Checksum(encoded[21:], crc32.MakeTable(crc32.Castagnoli)))
	return encoded
}

func send(t *testing.T, broker *kgo.Broker, name string, id [16]byte, records []byte) (int64, error) {
	t.Helper()
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = -1, 10_000
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID = name, id
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = records
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	answer, err := request.RequestWith(bounded(t), asRequestor{broker})
	if err != nil {
		t.Fatal(err)
	}
	found := answer.Topics[0].Partitions[0]
	return found.BaseOffset, kerr.ErrorForCode(found.ErrorCode)
}

// A repeated batch is recognised and answered with the place that it already has; a hole in the sequence is refused.
func TestSequences(t *testing.T) {
	name := topic(t, 1, nil)
	broker, _, topicID := leader(t, name)
	id, epoch := producerID(t)
	steps := []struct {
		sequence int32
		offset   int64
		wants    error
	}{
		{0, 0, nil}, {1, 1, nil}, {1, 1, nil}, {0, 0, nil}, {3, 0, kerr.OutOfOrderSequenceNumber}, {2, 2, nil}, {3, 3, nil},
	}
	for i, step := range steps {
		offset, err := send(t, broker, name, topicID, batch(id, epoch, step.sequence))
		if !errors.Is(err, step.wants) || (step.wants == nil && offset != step.offset) {
			t.Fatalf("step %d, sequence %d: offset %d, %v", i, step.sequence, offset, err)
		}
	}
	if _, err := send(t, broker, name, topicID, batch(id, epoch+1, 0)); err != nil {
		t.Fatalf("a newer epoch of the producer: %v", err)
	}
	if _, err := send(t, broker, name, topicID, batch(id, epoch, 4)); !errors.Is(err, kerr.InvalidProducerEpoch) {
		t.Fatalf("an old epoch of the producer: %v", err)
	}
	if other, _ := producerID(t); other == id {
		t.Fatal("two producers were given the same id")
	}
}

func TestDamagedBatchIsRefused(t *testing.T) {
	name := topic(t, 1, nil)
	broker, _, id := leader(t, name)
	damaged := batch(-1, -1, -1)
	damaged[len(damaged)-2] ^= 0x40
	if _, err := send(t, broker, name, id, damaged); !errors.Is(err, kerr.CorruptMessage) {
		t.Fatalf("got %v", err)
	}
	if offset, err := send(t, broker, name, id, batch(-1, -1, -1)); err != nil || offset != 0 {
		t.Fatalf("the next one: offset %d, %v", offset, err)
	}
}

// frame sends bytes on a connection of its own and returns the answer, nil when the broker closed it.
func frame(t *testing.T, address string, sent []byte) []byte {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(bound)); err != nil {
		t.Fatal(err)
	}
	if _, err := connection.Write(sent); err != nil {
		return nil
	}
	length := make([]byte, 4)
	if _, err := io.ReadFull(connection, length); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatalf("neither an answer nor an end of the connection")
		}
		return nil
	}
	answer := make([]byte, binary.BigEndian.Uint32(length))
	if _, err := io.ReadFull(connection, answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func sized(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// A client newer than the broker asks with a version that it does not know; it must learn what is known.
func TestApiVersionsAboveTheMaximum(t *testing.T) {
	_, address, _ := leader(t, topic(t, 1, nil))
	answer := frame(t, address, sized([]byte{0, 18, 0, 99, 0, 0, 0, 7, 0, 1, 'x', 0, 2, 'x', 2, 'x', 0}))
	if len(answer) < 10 || !bytes.Equal(answer[:6], []byte{0, 0, 0, 7, 0, 35}) {
		t.Fatalf("got % x", answer)
	}
	var response kmsg.ApiVersionsResponse // in version 0
	if err := response.ReadFrom(answer[4:]); err != nil {
		t.Fatal(err)
	}
	for _, key := range response.ApiKeys {
		if key.ApiKey == 18 && key.MaxVersion >= 4 {
			return
		}
	}
	t.Fatalf("ApiVersions itself is not listed: %+v", response.ApiKeys)
}

// Rubbish closes the connection that it came on, and harms nothing else.
func TestMalformedFrames(t *testing.T) {
	name := topic(t, 1, nil)
	producer := client(t)
	produce(t, producer, numbered(name, 1)...)
	_, address, _ := leader(t, name)
	header := []byte{0, 0, 0, 9, 0, 0, 0, 1, 0, 1, 'x', 0} // Produce 9, flexible header
	counts := []byte{0, 0xff, 0xff, 0, 0, 0x75, 0x30, 0xff, 0xff, 0xff, 0xff, 0x0f}
	for label, sent := range map[string][]byte{
		"a length of 2 GiB":         {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9},
		"a negative length":         {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9},
		"an empty frame":            {0, 0, 0, 0},
		"an unknown API":            sized([]byte{0x12, 0x34, 0, 0, 0, 0, 0, 1, 0, 0}),
		"4 billion topics":          sized(append(bytes.Clone(header), counts...)),
		"a body that ends too soon": sized(header),
		"another protocol":          []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
	} {
		if answer := frame(t, address, sent); answer != nil {
			t.Errorf("%s was answered: % x", label, answer[:min(len(answer), 40)])
		}
	}
	produce(t, producer, numbered(name, 1)...)
}
