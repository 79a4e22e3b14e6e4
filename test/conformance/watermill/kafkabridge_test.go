//go:build slow

package watermill_test

import (
	"context"
	"log/slog"
	"net/url"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkabridge"
	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/bus/sqltransport"
	"millrace/test/conformance"
	"millrace/test/conformance/watermill"
)

func TestWatermillSuite_PassesOverAFakeKafka(t *testing.T) {
	broker, err := fakebroker.Start(kfake.GroupMinSessionTimeout(time.Second))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	watermill.Run(t, func(url string) kafkaWorld { return overKafka(broker.Addresses(), url) })
}

// kafkaWorld transports messages from the owner's tables to its subscribers' tables
// through a broker. The prefix gives each trial its own topics.
type kafkaWorld struct {
	world
	brokers []string
	prefix  string
}

func overKafka(brokers []string, target string) kafkaWorld {
	prefix := ""
	if parsed, err := url.Parse(target); err == nil {
		prefix = path.Base(parsed.Path) + "."
	}
	return kafkaWorld{world{target}, brokers, prefix}
}

func (w kafkaWorld) Open(ctx context.Context, topo *bus.Topology, hosted []string, o conformance.Options) (conformance.Process, error) {
	quiet := slog.New(slog.DiscardHandler)
	return kafkabridge.Open(ctx, kafkabridge.Config{
		Brokers: w.brokers, Prefix: w.prefix, Session: 4 * time.Second, Sweep: time.Second, Partitions: 4, Logger: quiet,
	}, sqltransport.Config{
		URL: w.url, MaxConnsPerModule: 6, Backoff: o.Backoff, Poll: o.Poll, Logger: quiet,
	}, topo, hosted)
}
