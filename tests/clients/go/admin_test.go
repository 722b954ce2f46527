package clients

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTopics(t *testing.T) {
	control := admin(t)
	name := topic(t, 2, nil)
	if _, err := control.CreateTopic(bounded(t), 2, replicas, nil, name); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatalf("created twice: %v", err)
	}
	for bad, want := range map[string]error{"not a name": kerr.InvalidTopicException, "..": kerr.InvalidTopicException} {
		if _, err := control.CreateTopic(bounded(t), 1, replicas, nil, bad); !errors.Is(err, want) {
			t.Fatalf("created %q: %v", bad, err)
		}
	}
	if _, err := control.CreateTopic(bounded(t), 1, 9, nil, unique(t)); !errors.Is(err, kerr.InvalidReplicationFactor) {
		t.Fatalf("created with 9 replicas on 3 brokers: %v", err)
	}
	before, err := control.ListTopics(bounded(t), name)
	if err != nil || len(before[name].Partitions) != 2 || len(before[name].Partitions[0].Replicas) != replicas {
		t.Fatalf("described as %+v %v", before[name], err)
	}

	if grown, err := control.CreatePartitions(bounded(t), 3, name); err != nil || grown.Error() != nil {
		t.Fatalf("grow: %v %v", err, grown.Error())
	}
	awaitLeaders(t, name, 5)
	shrunk, err := control.UpdatePartitions(bounded(t), 1, name)
	if err != nil || !errors.Is(shrunk.Error(), kerr.InvalidPartitions) {
		t.Fatalf("shrink: %v %v", err, shrunk.Error())
	}
	after, err := control.ListTopics(bounded(t), name)
	if err != nil || after[name].ID != before[name].ID {
		t.Fatalf("the id of the topic changed: %v %v", after[name].ID, err)
	}

	if gone, err := control.DeleteTopics(bounded(t), name); err != nil || gone.Error() != nil {
		t.Fatalf("delete: %v %v", err, gone.Error())
	}
	await(t, "the topic is gone", func() bool {
		found, err := control.ListTopics(bounded(t), name)
		return err == nil && errors.Is(found[name].Err, kerr.UnknownTopicOrPartition)
	})
	gone, err := control.DeleteTopics(bounded(t), name)
	if err != nil || !errors.Is(gone.Error(), kerr.UnknownTopicOrPartition) {
		t.Fatalf("deleted twice: %v %v", err, gone.Error())
	}
	if _, err := control.CreateTopic(bounded(t), 1, replicas, nil, name); err != nil {
		t.Fatalf("created again: %v", err)
	}
	again, err := control.ListTopics(bounded(t), name)
	if err != nil || again[name].ID == before[name].ID {
		t.Fatalf("a new topic has the id of the old one: %v", err)
	}
}

func TestConfigs(t *testing.T) {
	hour, day := "3600000", "86400000"
	control := admin(t)
	name := topic(t, 1, map[string]*string{"retention.ms": &hour})
	value := func(key string) string {
		t.Helper()
		found, err := control.DescribeTopicConfigs(bounded(t), name)
		if err != nil {
			t.Fatal(err)
		}
		described, err := found.On(name, nil)
		if err != nil || described.Err != nil {
			t.Fatal(err, described.Err)
		}
		for _, config := range described.Configs {
			if config.Key == key && config.Value != nil {
				return *config.Value
			}
		}
		return ""
	}
	if found := value("retention.ms"); found != hour {
		t.Fatalf("retention.ms is %q after create", found)
	}
	alter := func(change kadm.AlterConfig) error {
		changed, err := control.AlterTopicConfigs(bounded(t), []kadm.AlterConfig{change}, name)
		if err != nil {
			return err
		}
		one, err := changed.On(name, nil)
		return errors.Join(err, one.Err)
	}
	if err := alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "retention.ms", Value: &day}); err != nil {
		t.Fatal(err)
	}
	await(t, "the new value is there", func() bool { return value("retention.ms") == day })
	if err := alter(kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"}); err != nil {
		t.Fatal(err)
	}
	await(t, "the value is the default again", func() bool { found := value("retention.ms"); return found != day && found != hour })
	if err := alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "no.such.config", Value: &day}); !errors.Is(err, kerr.InvalidConfig) {
		t.Fatalf("set an unknown key: %v", err)
	}
}

func TestGroupsAreListedDescribedAndDeleted(t *testing.T) {
	control := admin(t)
	name := topic(t, 2, nil)
	group := unique(t)
	for partition := range int32(2) {
		offsets := kadm.OffsetsFromRecords(kgo.Record{Topic: name, Partition: partition, Offset: 4})
		if err := control.CommitAllOffsets(bounded(t), group, offsets); err != nil {
			t.Fatalf("commit from outside: %v", err)
		}
	}
	listed, err := control.ListGroups(bounded(t))
	if err != nil || !slices.Contains(listed.Groups(), group) || listed[group].State != "Empty" {
		t.Fatalf("listed as %+v %v", listed[group], err)
	}

	live := join(t, name, group)
	await(t, "the member has its partitions", func() bool { return live.count() == 2 })
	described, err := control.DescribeGroups(bounded(t), group)
	if found := described[group]; err != nil || found.State != "Stable" || len(found.Members) != 1 ||
		len(found.AssignedPartitions()[name]) != 2 {
		t.Fatalf("described as %+v %v", described[group], err)
	}
	if deleted, err := control.DeleteGroup(bounded(t), group); !errors.Is(errors.Join(err, deleted.Err), kerr.NonEmptyGroup) {
		t.Fatalf("deleted a group with members: %v %v", err, deleted.Err)
	}
	refused, err := control.DeleteOffsets(bounded(t), group, kadm.TopicsSet{name: {0: {}}})
	if err != nil || !errors.Is(refused[name][0], kerr.GroupSubscribedToTopic) {
		t.Fatalf("deleted an offset in use: %v %v", err, refused)
	}

	live.leave()
	await(t, "the group is empty", func() bool {
		found, err := control.DescribeGroups(bounded(t), group)
		return err == nil && found[group].State == "Empty"
	})
	removed, err := control.DeleteOffsets(bounded(t), group, kadm.TopicsSet{name: {0: {}}})
	if err != nil || removed[name][0] != nil {
		t.Fatalf("delete an offset: %v %v", err, removed)
	}
	left, err := control.FetchOffsets(bounded(t), group)
	if _, there := left.Lookup(name, 0); err != nil || there {
		t.Fatalf("the deleted offset is still there: %v %v", left, err)
	}
	if kept, _ := left.Lookup(name, 1); kept.At != 5 {
		t.Fatalf("the other offset is %+v", kept)
	}
	if deleted, err := control.DeleteGroup(bounded(t), group); errors.Join(err, deleted.Err) != nil {
		t.Fatalf("delete: %v %v", err, deleted.Err)
	}
	deleted, err := control.DeleteGroup(bounded(t), group)
	if !errors.Is(errors.Join(err, deleted.Err), kerr.GroupIDNotFound) {
		t.Fatalf("deleted twice: %v %v", err, deleted.Err)
	}
}

func TestDeleteRecords(t *testing.T) {
	control := admin(t)
	name := topic(t, 1, nil)
	produce(t, client(t), numbered(name, 10)...)
	below := func(at int64) error {
		done, err := control.DeleteRecords(bounded(t), kadm.Offsets{name: {0: {Topic: name, Partition: 0, At: at}}})
		return errors.Join(err, done.Error())
	}
	if err := below(6); err != nil {
		t.Fatal(err)
	}
	if first := read(t, name, 1)[0].Offset; first != 6 {
		t.Fatalf("the first message is at %d", first)
	}
	starts, err := control.ListStartOffsets(bounded(t), name)
	if start, _ := starts.Lookup(name, 0); err != nil || start.Offset != 6 {
		t.Fatalf("the start is %+v %v", start, err)
	}
	if err := below(11); !errors.Is(err, kerr.OffsetOutOfRange) {
		t.Fatalf("deleted beyond the end: %v", err)
	}
	if err := below(-1); err != nil { // all of it
		t.Fatal(err)
	}
	produce(t, client(t), numbered(name, 1)...)
	if next := read(t, name, 1)[0].Offset; next != 10 {
		t.Fatalf("the next message is at %d", next)
	}
}

func TestDescribeCluster(t *testing.T) {
	found, err := admin(t).BrokerMetadata(bounded(t))
	if err != nil || len(found.Brokers) != 3 || found.Cluster == "" || found.Controller < 0 {
		t.Fatalf("%+v %v", found, err)
	}
}
