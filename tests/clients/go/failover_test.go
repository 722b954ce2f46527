package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	keys       = 6
	partitions = 3
	// How many acknowledgements each partition needs before, during and after the fault.
	steady     = 300
	pace       = time.Millisecond
	inFlight   = 2000
	killedMark = "kill"
	// How often the fault is repeated, and what it is called in the summary (see harness/targets.py).
	rounds      = 3
	killedLabel = "kill -9 of the leader"
)

type event struct {
	Event      string  `json:"event"`
	Key        string  `json:"key,omitempty"`
	Seq        int     `json:"seq"`
	Partition  int32   `json:"partition"`
	Offset     int64   `json:"offset"`
	Kind       string  `json:"kind,omitempty"`
	Partitions []int32 `json:"partitions,omitempty"`
	T          float64 `json:"t"`
}

type story struct {
	mu     sync.Mutex
	events []event
	acked  map[int32]int
	fresh  map[int32]int // acknowledged, of those sent after the fault
	fault  float64
	failed []string
}

func unix() float64 { return float64(time.Now().UnixNano()) / 1e9 }

// write sends numbered messages, one for each key in turn, until it is stopped, and notes what becomes of them.
func (s *story) write(ctx context.Context, producer *kgo.Client, name string) {
	slots := make(chan struct{}, inFlight)
	for seq := 0; ctx.Err() == nil; seq++ {
		for k := range keys {
			slots <- struct{}{}
			key, sent := fmt.Sprintf("key-%d", k), unix()
			s.mu.Lock()
			s.events = append(s.events, event{Event: "sent", Key: key, Seq: seq, T: sent})
			s.mu.Unlock()
			record := &kgo.Record{Topic: name, Partition: int32(k % partitions), Key: []byte(key), Value: []byte(strconv.Itoa(seq))}
			producer.Produce(context.Background(), record, func(record *kgo.Record, err error) {
				s.settle(key, seq, sent, record, err)
				<-slots
			})
		}
		time.Sleep(pace) // the rate of the load, not a synchronisation
	}
}

func (s *story) settle(key string, seq int, sent float64, record *kgo.Record, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failed = append(s.failed, fmt.Sprintf("%s#%d: %v", key, seq, err))
		return
	}
	s.acked[record.Partition]++
	if s.fault > 0 && sent > s.fault {
		s.fresh[record.Partition]++
	}
	s.events = append(s.events, event{Event: "acked", Key: key, Seq: seq, Partition: record.Partition, Offset: record.Offset, T: unix()})
}

func (s *story) reached(t *testing.T, counts map[int32]int, marks map[int32]int) {
	t.Helper()
	await(t, fmt.Sprintf("the acknowledgements reach %v", marks), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for partition, mark := range marks {
			if counts[partition] < mark {
				return false
			}
		}
		return true
	})
}

func (s *story) marks(more int) map[int32]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	marks := map[int32]int{}
	for partition := range int32(partitions) {
		marks[partition] = s.acked[partition] + more
	}
	return marks
}

// strike kills the leader of partition 0, waits until all that it led takes messages again, and until it is back.
func (s *story) strike(t *testing.T, name string) {
	t.Helper()
	victim := cluster(t, "leader", name, "0")[0]
	hit, marks := []int32{}, map[int32]int{}
	for partition := range int32(partitions) {
		if cluster(t, "leader", name, strconv.Itoa(int(partition)))[0] == victim {
			hit, marks[partition] = append(hit, partition), steady
		}
	}
	at, err := strconv.ParseFloat(cluster(t, killedMark, victim)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.fault, s.fresh = at, map[int32]int{}
	s.events = append(s.events, event{Event: "fault", Kind: killedMark, Partitions: hit, T: at})
	fresh := s.fresh
	s.mu.Unlock()
	s.reached(t, fresh, marks)
	s.mu.Lock()
	s.events = append(s.events, event{Event: "recovered", T: unix()})
	s.mu.Unlock()
	cluster(t, "restart", victim)
	cluster(t, "wait-healthy")
}

func reads(records []*kgo.Record) []event {
	found := make([]event, len(records))
	for i, record := range records {
		seq, err := strconv.Atoi(string(record.Value))
		if err != nil {
			seq = -1
		}
		found[i] = event{Event: "read", Key: string(record.Key), Seq: seq, Partition: record.Partition, Offset: record.Offset}
	}
	return found
}

// judge hands the history to the checker that all suites share.
func judge(t *testing.T, label string, events []event) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	encoder := json.NewEncoder(file)
	for _, each := range events {
		if err := encoder.Encode(each); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command("python3", filepath.Join(environment(t, "HARNESS"), "history.py"), path).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", label, err, output)
	}
	return string(output)
}

// Every acknowledged message survives a kill -9 of the leader, once and in order, for a reader that was there all along
// and for one that comes afterwards.
func TestGoesOnThroughAKilledLeader(t *testing.T) {
	name := topic(t, partitions, nil)
	// A short age of metadata: with franz-go's default of 5 s the figure would tell nothing about the broker.
	producer := client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	s := &story{acked: map[int32]int{}, fresh: map[int32]int{}}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var writing sync.WaitGroup
	writing.Go(func() { s.write(ctx, producer, name) })

	follower := client(t, kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for range rounds {
		s.reached(t, s.acked, s.marks(steady))
		s.strike(t, name)
	}
	s.reached(t, s.acked, s.marks(steady))
	stop()
	writing.Wait()
	cluster(t, "rebalance")
	awaitBalance(t)
	if err := producer.Flush(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if len(s.failed) > 0 {
		t.Fatalf("%d messages failed, the first: %s", len(s.failed), s.failed[0])
	}

	total := 0
	for _, count := range s.acked {
		total += count
	}
	verdict := judge(t, "the reader that was there", append(s.events[:len(s.events):len(s.events)], reads(poll(t, follower, total))...))
	judge(t, "the reader that came later", append(s.events[:len(s.events):len(s.events)], reads(read(t, name, total))...))
	report(t, verdict)
}

// report notes the pause of each fault, in the partition that waited longest, where the runner collects them.
func report(t *testing.T, verdict string) {
	path := os.Getenv("FIGURES")
	if path == "" {
		return
	}
	worst := make([]float64, rounds)
	for line := range strings.Lines(verdict) {
		var fault, partition int
		var pause float64
		if n, _ := fmt.Sscanf(line, "fault %d, partition %d: %f ms", &fault, &partition, &pause); n == 3 && fault < rounds {
			worst[fault] = max(worst[fault], pause)
		}
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	figure := map[string]any{"client": "franz-go", "fault": killedLabel, "ms": worst}
	if err := json.NewEncoder(file).Encode(figure); err != nil {
		t.Fatal(err)
	}
}
