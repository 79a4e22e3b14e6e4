//go:build kafka

package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
)

// within bounds every wait.
const within = 2 * time.Minute

func topic(t *testing.T, c *Cluster, name string) {
	t.Helper()
	admin, err := sarama.NewClusterAdmin(c.Brokers(), Config())
	require.NoError(t, err)
	defer admin.Close()
	require.Eventually(t, func() bool { // a busy controller may fence a broker for a moment when it misses heartbeats
		err = admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: -1}, false)
		return err == nil || errors.Is(err, sarama.ErrTopicAlreadyExists)
	}, within, 100*time.Millisecond, "%v", err)
}

// send writes n records with acks=all. The idempotent producer retries after lost replies.
func send(t *testing.T, brokers []string, to string, from, n int) {
	t.Helper()
	config := Config()
	config.Producer.Idempotent, config.Net.MaxOpenRequests = true, 1
	config.Producer.Retry.Max, config.Producer.Retry.Backoff = 100, 100*time.Millisecond
	config.Metadata.Retry.Max = 100
	producer, err := sarama.NewSyncProducer(brokers, config)
	require.NoError(t, err)
	defer producer.Close()
	for i := range n {
		_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: to, Value: sarama.StringEncoder(strconv.Itoa(from + i))})
		require.NoError(t, err)
	}
}

// requireRecords requires that the topic has exactly the records 0 to n-1, in order.
func requireRecords(t *testing.T, brokers []string, config *sarama.Config, of string, n int) {
	t.Helper()
	config.Metadata.Retry.Max = 100
	client, err := sarama.NewClient(brokers, config)
	require.NoError(t, err)
	defer client.Close()
	end, err := client.GetOffset(of, 0, sarama.OffsetNewest)
	require.NoError(t, err)
	require.EqualValues(t, n, end)
	consumer, err := sarama.NewConsumerFromClient(client)
	require.NoError(t, err)
	defer consumer.Close()
	read, err := consumer.ConsumePartition(of, 0, sarama.OffsetOldest)
	require.NoError(t, err)
	defer read.Close()
	late := time.After(within)
	for i := range n {
		select {
		case m := <-read.Messages():
			require.Equal(t, strconv.Itoa(i), string(m.Value))
		case <-late:
			t.Fatalf("record %d does not come", i)
		}
	}
}

func TestCluster_KeepsAckedRecordsAfterStopAndKill(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	topic(t, c, "things")
	send(t, c.Brokers(), "things", 0, 50)
	requireRecords(t, c.Brokers(), Config(), "things", 50)

	before := c.Brokers()
	for i, end := range []func(int) error{c.Kill, c.Stop} {
		pid := c.nodes[0].run.cmd.Process.Pid
		require.NoError(t, end(0))
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
		_, err := net.Dial("tcp", c.Brokers()[0])
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.NoError(t, c.Restart(0))
		require.Equal(t, before, c.Brokers())
		send(t, c.Brokers(), "things", 50+50*i, 50)
	}
	requireRecords(t, c.Brokers(), Config(), "things", 150)

	admin, err := sarama.NewClusterAdmin(c.Brokers(), Config())
	require.NoError(t, err)
	defer admin.Close()
	require.Eventually(t, func() bool {
		topics, err := admin.ListTopics()
		return err == nil && len(topics) == 2 // things and __consumer_offsets; the probes' topics are deleted
	}, within, 50*time.Millisecond)
}

func TestFreeze_BrokerAnswersAgainAfterThaw(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{})
	topic(t, c, "things")
	require.NoError(t, c.Freeze(0))
	config := Config()
	config.Net.ReadTimeout = 300 * time.Millisecond
	_, err := sarama.NewClient(c.Brokers(), config)
	require.ErrorContains(t, err, "i/o timeout", "it accepts and sends nothing")
	require.NoError(t, c.Thaw(0))
	send(t, c.Brokers(), "things", 0, 1)
	require.NoError(t, c.Freeze(0))
	require.NoError(t, c.Stop(0), "a frozen broker can be stopped")
	require.NoError(t, c.Restart(0))
	requireRecords(t, c.Brokers(), Config(), "things", 1)
}

func TestCluster_OfThreeSurvivesTheLossOfALeader(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Nodes: 3})
	topic(t, c, "things")
	send(t, c.Brokers(), "things", 0, 20)
	leader, err := c.Leader("things", 0)
	require.NoError(t, err)
	require.NoError(t, c.Kill(leader))
	send(t, c.Brokers(), "things", 20, 20)
	now := leader
	require.Eventually(t, func() bool { // a broker with old metadata still names the dead one
		now, err = c.Leader("things", 0)
		return err == nil && now != leader
	}, within, 100*time.Millisecond)
	require.NoError(t, c.Restart(leader))

	// The restarted broker is in sync, so it and one other are enough for acks=all.
	coordinator, err := c.Coordinator("anybody")
	require.NoError(t, err)
	require.NoError(t, c.Kill(now))
	send(t, c.Brokers(), "things", 40, 20)
	requireRecords(t, c.Brokers(), Config(), "things", 60)
	require.Contains(t, []int{0, 1, 2}, coordinator)
}

func TestProxy_LostReplyIsRetriedAndChangesNothing(t *testing.T) {
	t.Parallel()
	c := Start(t, Options{Proxy: true})
	topic(t, c, "things")
	p := c.Proxy(0)
	p.Lose(Produce, 5)
	send(t, c.Proxied(), "things", 0, 30)
	require.Positive(t, p.Lost(Produce))
	p.Lose(Produce, 0)
	requireRecords(t, c.Proxied(), Config(), "things", 30)

	p.Hang()
	config := Config()
	config.Net.ReadTimeout = 300 * time.Millisecond
	_, err := sarama.NewClient(c.Proxied(), config)
	require.ErrorContains(t, err, "i/o timeout")
	p.GoOn()
	p.Break()
	requireRecords(t, c.Proxied(), Config(), "things", 30)
}

// childOf marks the child process that a test kills.
const childOf = "MILLRACE_BROKER_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childOf) == "" {
		os.Exit(m.Run())
	}
	c, err := Open(context.Background(), Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("serves", c.nodes[0].run.cmd.Process.Pid, c.dir)
	select {}
}

func requireGone(t *testing.T, pid int, dir string) {
	t.Helper()
	require.Eventually(t, func() bool { return !lives(pid) }, within, 20*time.Millisecond, "the broker lives")
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	}, within, 20*time.Millisecond, "%s is left", dir)
}

// lives reports whether the process runs. A zombie that init has not reaped yet does not
// count.
func lives(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func TestClose_LeavesNothingBehind(t *testing.T) {
	t.Parallel()
	c, err := Open(t.Context(), Options{})
	require.NoError(t, err)
	pid := c.nodes[0].run.cmd.Process.Pid
	require.NoError(t, c.Close())
	require.False(t, lives(pid))
	require.NoDirExists(t, c.dir)
	require.NoError(t, c.Close(), "again")
}

func TestWatch_CleansUpAfterAKilledProcess(t *testing.T) {
	t.Parallel()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childOf+"=1")
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	t.Cleanup(func() { _ = child.Process.Kill() }) // it may be dead already
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	fields := strings.Fields(line)
	require.Len(t, fields, 3, line)
	pid, err := strconv.Atoi(fields[1])
	require.NoError(t, err)
	require.True(t, lives(pid))
	require.DirExists(t, fields[2])
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	requireGone(t, pid, fields[2])
}
