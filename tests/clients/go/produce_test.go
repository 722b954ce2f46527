package clients

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestAcks(t *testing.T) {
	for label, acks := range map[string]kgo.Acks{"none": kgo.NoAck(), "leader": kgo.LeaderAck(), "all": kgo.AllISRAcks()} {
		t.Run(label, func(t *testing.T) {
			name := topic(t, 1, nil)
			sent := numbered(name, 100)
			produce(t, client(t, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()), sent...)
			if found := values(read(t, name, len(sent))); !slices.Equal(found, values(sent)) {
				t.Fatalf("read %v", found)
			}
		})
	}
}

// A batch passes through as it was sent: the reader finds the codec of the producer in it.
func TestCompression(t *testing.T) {
	codecs := map[string]struct {
		codec  kgo.CompressionCodec
		number uint8
	}{
		"none": {kgo.NoCompression(), 0}, "gzip": {kgo.GzipCompression(), 1}, "snappy": {kgo.SnappyCompression(), 2},
		"lz4": {kgo.Lz4Compression(), 3}, "zstd": {kgo.ZstdCompression(), 4},
	}
	for label, codec := range codecs {
		t.Run(label, func(t *testing.T) {
			name := topic(t, 1, nil)
			producer := client(t, kgo.ProducerBatchCompression(codec.codec), kgo.ProducerLinger(20*time.Millisecond))
			sent := numbered(name, 200)
			for _, record := range sent {
				record.Value = append(record.Value, bytes.Repeat([]byte("compressible "), 50)...)
			}
			produce(t, producer, sent...)
			found := read(t, name, len(sent))
			if !slices.Equal(values(found), values(sent)) {
				t.Fatal("the messages changed on their way")
			}
			for _, record := range found {
				if record.Attrs.CompressionType() != codec.number {
					t.Fatalf("offset %d came with codec %d", record.Offset, record.Attrs.CompressionType())
				}
			}
		})
	}
}

func TestKeysHeadersAndNulls(t *testing.T) {
	name := topic(t, 1, nil)
	headers := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte{}}, {Key: "ключ", Value: []byte{0, 255}}}
	sent := []*kgo.Record{
		{Topic: name, Key: []byte("key"), Value: []byte("value"), Headers: headers},
		{Topic: name, Key: []byte{}, Value: []byte{}},
		{Topic: name, Key: []byte("tombstone"), Value: nil},
		{Topic: name, Key: nil, Value: bytes.Repeat([]byte{0, 1, 2, 255}, 100_000)},
	}
	produce(t, client(t), sent...)
	for i, found := range read(t, name, len(sent)) {
		want := sent[i]
		same := bytes.Equal(found.Key, want.Key) && (found.Key == nil) == (want.Key == nil) &&
			bytes.Equal(found.Value, want.Value) && (found.Value == nil) == (want.Value == nil) &&
			fmt.Sprint(found.Headers) == fmt.Sprint(want.Headers)
		if !same || found.Offset != int64(i) {
			t.Fatalf("offset %d: key %q, %d bytes, headers %v", found.Offset, found.Key, len(found.Value), found.Headers)
		}
	}
}

func TestTimestamps(t *testing.T) {
	name := topic(t, 1, nil)
	start := time.UnixMilli(time.Now().Add(-time.Hour).UnixMilli())
	producer := client(t)
	for i := range 10 { // a batch each, as the index may be by batch
		produce(t, producer, &kgo.Record{Topic: name, Timestamp: start.Add(time.Duration(i) * time.Minute)})
	}
	for i, record := range read(t, name, 10) {
		if !record.Timestamp.Equal(start.Add(time.Duration(i) * time.Minute)) {
			t.Fatalf("offset %d has %v", record.Offset, record.Timestamp)
		}
	}
	for after, want := range map[time.Duration]int64{-time.Hour: 0, 0: 0, time.Millisecond: 1, 5 * time.Minute: 5} {
		found, err := admin(t).ListOffsetsAfterMilli(bounded(t), start.Add(after).UnixMilli(), name)
		if offset, _ := found.Lookup(name, 0); err != nil || offset.Err != nil || offset.Offset != want {
			t.Fatalf("offset for %v: %+v %v", after, offset, err)
		}
	}
	// Nothing is as late as that: kadm turns the broker's -1 into the end offset.
	found, err := admin(t).ListOffsetsAfterMilli(bounded(t), start.Add(time.Hour).UnixMilli()+1_000_000, name)
	if offset, _ := found.Lookup(name, 0); err != nil || offset.Offset != 10 {
		t.Fatalf("offset for the future: %+v %v", offset, err)
	}
	newest, err := admin(t).ListMaxTimestampOffsets(bounded(t), name)
	if offset, _ := newest.Lookup(name, 0); err != nil || offset.Err != nil || offset.Offset != 9 {
		t.Fatalf("offset of the newest message: %+v %v", offset, err)
	}
}

// Keys go where the partitioner says, and each partition is read back in order.
func TestKeysStayInOrder(t *testing.T) {
	name := topic(t, 6, nil)
	producer := client(t)
	for i := range 600 {
		record := &kgo.Record{Topic: name, Key: fmt.Appendf(nil, "k%d", i%17), Value: fmt.Appendf(nil, "%06d", i)}
		producer.Produce(bounded(t), record, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce: %v", err)
			}
		})
	}
	if err := producer.Flush(bounded(t)); err != nil {
		t.Fatal(err)
	}
	last, home := map[string]string{}, map[string]int32{}
	for _, record := range read(t, name, 600) {
		key := string(record.Key)
		if first, met := home[key]; (met && first != record.Partition) || last[key] >= string(record.Value) {
			t.Fatalf("key %s: %s after %s, in partition %d", key, record.Value, last[key], record.Partition)
		}
		home[key], last[key] = record.Partition, string(record.Value)
	}
}

func TestTooLargeIsRefused(t *testing.T) {
	limit := "10000"
	name := topic(t, 1, map[string]*string{"max.message.bytes": &limit})
	producer := client(t, kgo.ProducerBatchMaxBytes(1_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	err := producer.ProduceSync(bounded(t), &kgo.Record{Topic: name, Value: make([]byte, 50_000)}).FirstErr()
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("MESSAGE_TOO_LARGE")) {
		t.Fatalf("got %v", err)
	}
	produce(t, producer, &kgo.Record{Topic: name, Value: make([]byte, 5_000)})
}
