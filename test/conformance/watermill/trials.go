package watermill

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
)

// trial is one test of Watermill's suite, with its settings.
type trial struct {
	test   func(*testing.T, tests.TestContext, tests.PubSubConstructor)
	groups func(*testing.T, tests.TestContext, tests.ConsumerGroupPubSubConstructor) // instead of test

	topics      []string                      // all topics that the test uses
	key         func(*message.Message) string // a message's key
	groupEach   bool                          // each subscriber has its own consumer group, instead of one group for all
	short       string                        // why it runs in the suite's short form; "": it does not
	heavy       bool                          // runs in the suite's short form when it runs straight
	notStraight string                        // why it does not run straight; "": it does
}

// topic is the name of the suite's topics; some tests append a suffix.
const topic = "topic"

var (
	one        = []string{topic}
	two        = []string{topic + "-1", topic + "-2"}
	twenty     = numbered(20)
	itself     = func(msg *message.Message) string { return msg.UUID }
	itsPayload = func(msg *message.Message) string { return string(msg.Payload) }
)

// Why a trial is not run straight.
const (
	nacks        = "it nacks: what becomes of the message is the chain's verdict"
	endOfContext = "it wants the message's context to end with the Ack: the chain gives a handler its context, and ends it"
)

var trials = []trial{
	{test: tests.TestPublishSubscribe, topics: one, key: itself},
	{test: tests.TestConcurrentSubscribe, topics: one, key: itself,
		short: "in full it has 50 subscribers: as processes they want 400 connections; a test's server has 300"},
	{test: tests.TestConcurrentSubscribeMultipleTopics, topics: twenty, key: itself},
	{test: tests.TestResendOnError, topics: one, key: itself, notStraight: nacks},
	{test: tests.TestNoAck, topics: one, key: itsPayload},
	{test: tests.TestContinueAfterSubscribeClose, topics: one, key: itself, heavy: true},
	{test: tests.TestConcurrentClose, topics: one, key: itself},
	{test: tests.TestContinueAfterErrors, topics: one, key: itself, notStraight: nacks},
	{test: tests.TestPublishSubscribeInOrder, topics: one, key: itsPayload},
	{test: tests.TestPublisherClose, topics: one, key: itself, heavy: true},
	{test: tests.TestTopic, topics: two, key: itself},
	{test: tests.TestMessageCtx, topics: one, key: itself, notStraight: endOfContext},
	{test: tests.TestSubscribeCtx, topics: one, key: itself, notStraight: nacks},
	{test: tests.TestNewSubscriberReceivesOldMessages, topics: one, key: itself, groupEach: true},
	{groups: tests.TestConsumerGroups, topics: one, key: itself},
}

// excluded are the suite's tests that are not run, and why.
var excluded = map[string]string{
	"TestPubSub":           "calls the others, which are called one by one here: each needs its topics declared",
	"TestPubSubStressTest": "calls TestPubSub ten times",
	"TestReconnect": "reads its list of published messages while another goroutine appends to it, so it fails at random and under " +
		"the race detector; and how a broker is restarted is each transport's own affair. " +
		"A crash and restart under load is tried in test/chaos (TestPostgreSQL_CrashLosesNothing)",
}

// name is the test's name in the suite.
func (tr trial) name() string {
	test := reflect.ValueOf(tr.test)
	if tr.groups != nil {
		test = reflect.ValueOf(tr.groups)
	}
	full := runtime.FuncForPC(test.Pointer()).Name()
	return full[strings.LastIndex(full, ".")+1:]
}

func numbered(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%d", topic, i))
	}
	return names
}
