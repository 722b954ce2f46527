// Package clients drives a cluster with franz-go. The cluster is named by the environment: BOOTSTRAP holds addresses,
// CLUSTER the command whose verbs kill and restart brokers, HARNESS the folder of the history checker.
package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	replicas = 3
	// No single step of a test may take longer, on a slow machine and through an election.
	bound = 90 * time.Second
)

func environment(t testing.TB, name string) string {
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: run this suite through tests/clients/run", name)
	}
	return value
}

func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	t.Cleanup(cancel)
	return ctx
}

func client(t testing.TB, options ...kgo.Opt) *kgo.Client {
	seeds := kgo.SeedBrokers(strings.Split(environment(t, "BOOTSTRAP"), ",")...)
	// The default of 5 s is for large fleets: a test that has just made a topic would wait that long to see it.
	fresh := kgo.MetadataMinAge(100 * time.Millisecond)
	made, err := kgo.NewClient(append([]kgo.Opt{seeds, fresh}, options...)...)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	t.Cleanup(made.Close)
	return made
}

func admin(t testing.TB) *kadm.Client { return kadm.NewClient(client(t)) }

// A topic of its own for each test, which also tells the runs on a kept cluster apart.
func topic(t testing.TB, partitions int32, configs map[string]*string) string {
	name := unique(t)
	made, err := admin(t).CreateTopic(bounded(t), partitions, replicas, configs, name)
	if err != nil {
		t.Fatalf("create topic: %v %s", err, made.ErrMessage)
	}
	awaitLeaders(t, name, int(partitions))
	return name
}

func unique(t testing.TB) string {
	flat := strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name())
	return fmt.Sprintf("franz-%s-%s", flat, strconv.FormatInt(time.Now().UnixNano(), 36))
}

// awaitLeaders waits until every broker knows every partition and its leader.
func awaitLeaders(t testing.TB, name string, partitions int) {
	asker := client(t)
	await(t, "every broker knows the leaders of "+name, func() bool {
		for id := range 3 {
			request := kmsg.NewPtrMetadataRequest()
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = kmsg.StringPtr(name)
			request.Topics = append(request.Topics, topic)
			answer, err := request.RequestWith(bounded(t), asRequestor{asker.Broker(id)})
			if err != nil || len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != partitions {
				return false
			}
			for _, partition := range answer.Topics[0].Partitions {
				if partition.ErrorCode != 0 || partition.Leader < 0 {
					return false
				}
			}
		}
		return true
	})
}

// awaitBalance waits until every partition is led by the broker that is to lead it: later tests are to see no move.
func awaitBalance(t testing.TB) {
	asker := admin(t)
	await(t, "every partition is led by its preferred broker", func() bool {
		topics, err := asker.ListTopicsWithInternal(bounded(t))
		if err != nil {
			return false
		}
		for _, topic := range topics {
			for _, partition := range topic.Partitions {
				if len(partition.Replicas) == 0 || partition.Leader != partition.Replicas[0] {
					return false
				}
			}
		}
		return true
	})
}

func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bound); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// cluster runs one verb of the cluster command and returns the words that it printed.
func cluster(t testing.TB, verb ...string) []string {
	t.Helper()
	words := append(strings.Fields(environment(t, "CLUSTER")), verb...)
	output, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("cluster %v: %v: %s", verb, err, output)
	}
	return strings.Fields(string(output))
}

// produce sends records one after the other and fails the test when one of them is refused.
func produce(t testing.TB, producer *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := producer.ProduceSync(bounded(t), records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

// read returns the first `count` records that a reader from the beginning of the topic meets.
func read(t testing.TB, name string, count int, options ...kgo.Opt) []*kgo.Record {
	t.Helper()
	from := []kgo.Opt{kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	return poll(t, client(t, append(from, options...)...), count)
}

func poll(t testing.TB, consumer *kgo.Client, count int) []*kgo.Record {
	t.Helper()
	var records []*kgo.Record
	for ctx := bounded(t); len(records) < count; {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("fetch, having %d of %d records: %v", len(records), count, err)
		}
		fetches.EachError(func(name string, partition int32, err error) {
			t.Fatalf("fetch of %s-%d: %v", name, partition, err)
		})
		records = append(records, fetches.Records()...)
	}
	return records
}

func values(records []*kgo.Record) []string {
	found := make([]string, len(records))
	for i, record := range records {
		found[i] = string(record.Value)
	}
	return found
}

func numbered(name string, count int) []*kgo.Record {
	records := make([]*kgo.Record, count)
	for i := range records {
		records[i] = &kgo.Record{Topic: name, Value: fmt.Appendf(nil, "message %d", i)}
	}
	return records
}
