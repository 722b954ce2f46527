package clients

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// member is a group member that consumes until it is closed, and knows what it is assigned.
type member struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	assigned map[int32]bool
	seen     map[string]int
}

func join(t *testing.T, name, group string, options ...kgo.Opt) *member {
	m := &member{assigned: map[int32]bool{}, seen: map[string]int{}, done: make(chan struct{})}
	change := func(has bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			m.mu.Lock()
			defer m.mu.Unlock()
			for _, partition := range changed[name] {
				if has {
					m.assigned[partition] = true
				} else {
					delete(m.assigned, partition)
				}
			}
		}
	}
	m.client = client(t, append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
		kgo.HeartbeatInterval(200 * time.Millisecond), kgo.SessionTimeout(10 * time.Second),
	}, options...)...)
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() {
		defer close(m.done)
		for {
			fetches := m.client.PollFetches(ctx)
			if ctx.Err() != nil || fetches.IsClientClosed() {
				return
			}
			m.mu.Lock()
			fetches.EachRecord(func(record *kgo.Record) { m.seen[string(record.Value)]++ })
			m.mu.Unlock()
		}
	}()
	t.Cleanup(m.leave)
	return m
}

func (m *member) leave() {
	m.stop()
	<-m.done
	m.client.Close()
}

func (m *member) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.assigned)
}

// Members come and go; the partitions are always shared out among those that are there.
func TestGroupRebalances(t *testing.T) {
	balancers := map[string]kgo.GroupBalancer{"cooperative": kgo.CooperativeStickyBalancer(), "eager": kgo.RangeBalancer()}
	for label, balancer := range balancers {
		t.Run(label, func(t *testing.T) {
			const partitions = 6
			name := topic(t, partitions, nil)
			group := unique(t)
			shares := func(want ...int) func(...*member) {
				return func(members ...*member) {
					t.Helper()
					await(t, fmt.Sprintf("the shares are %v", want), func() bool {
						for i, m := range members {
							if m.count() != want[i] {
								return false
							}
						}
						return true
					})
				}
			}
			first := join(t, name, group, kgo.Balancers(balancer))
			shares(6)(first)
			second := join(t, name, group, kgo.Balancers(balancer))
			shares(3, 3)(first, second)
			third := join(t, name, group, kgo.Balancers(balancer))
			shares(2, 2, 2)(first, second, third)

			producer := client(t)
			for i := range 120 {
				produce(t, producer, &kgo.Record{Topic: name, Key: fmt.Appendf(nil, "%d", i), Value: fmt.Appendf(nil, "%d", i)})
			}
			await(t, "every message came to a member", func() bool {
				total := 0
				for _, m := range []*member{first, second, third} {
					m.mu.Lock()
					total += len(m.seen)
					m.mu.Unlock()
				}
				return total == 120
			})
			second.leave()
			shares(3, 3)(first, third)
			first.leave()
			shares(6)(third)
		})
	}
}

// What a group has committed is where it goes on; what it has not committed comes again.
func TestGroupGoesOnWhereItCommitted(t *testing.T) {
	name := topic(t, 1, nil)
	group := unique(t)
	produce(t, client(t), numbered(name, 20)...)
	options := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(name), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	first := client(t, options...)
	records := poll(t, first, 20)
	if err := first.CommitRecords(bounded(t), records[:12]...); err != nil {
		t.Fatalf("commit: %v", err)
	}
	first.Close()
	if again := poll(t, client(t, options...), 8); again[0].Offset != 12 {
		t.Fatalf("went on at %d", again[0].Offset)
	}
}

// A static member that restarts gets its partitions back without a rebalance among the others.
func TestStaticMember(t *testing.T) {
	name := topic(t, 4, nil)
	group := unique(t)
	first := join(t, name, group, kgo.InstanceID("one"))
	second := join(t, name, group, kgo.InstanceID("two"))
	await(t, "both have their share", func() bool { return first.count() == 2 && second.count() == 2 })
	_, generation := first.client.GroupMetadata()
	second.leave() // a static member does not leave the group by closing
	again := join(t, name, group, kgo.InstanceID("two"))
	await(t, "it has its share again", func() bool { return again.count() == 2 })
	if _, now := first.client.GroupMetadata(); now != generation {
		t.Fatalf("generation went from %d to %d", generation, now)
	}
}
