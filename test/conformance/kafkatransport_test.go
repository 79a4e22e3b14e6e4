package conformance_test

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkatransport"
	"millrace/platform/bus/kafkatransport/fakebroker"
	"millrace/platform/bus/sqltransport"
	"millrace/test/conformance"
)

// brokersVariable tells the suite's other processes where the brokers are.
const brokersVariable = "MILLRACE_CONFORMANCE_BROKERS"

// TestMessagesThroughAFakeKafka is the suite over Kafka's protocol: every
// message leaves its module's database, passes a broker in this process, and
// enters the hearing module's tables.
func TestMessagesThroughAFakeKafka(t *testing.T) {
	broker, err := fakebroker.Start(kfake.GroupMinSessionTimeout(time.Second))
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	t.Setenv(brokersVariable, strings.Join(broker.Addresses(), ","))
	conformance.Run(t, overKafka)
}

// overWhat is the transport of the parent, in a process that it started.
func overWhat(url string) conformance.World {
	if os.Getenv(brokersVariable) != "" {
		return overKafka(url)
	}
	return overSQL(url)
}

type kafkaWorld struct {
	world
	brokers []string
	prefix  string // each test has its own topics
}

func overKafka(target string) conformance.World {
	prefix := ""
	if parsed, err := url.Parse(target); err == nil {
		prefix = path.Base(parsed.Path) + "."
	}
	return kafkaWorld{world{target}, strings.Split(os.Getenv(brokersVariable), ","), prefix}
}

func (w kafkaWorld) Open(ctx context.Context, topo *bus.Topology, hosted []string, o conformance.Options) (conformance.Process, error) {
	quiet := slog.New(slog.DiscardHandler)
	if os.Getenv("LOUD") != "" {
		quiet = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return kafkatransport.Open(ctx, kafkatransport.Config{
		Brokers: w.brokers, Prefix: w.prefix, Session: 4 * time.Second, Sweep: time.Second, Partitions: 4, Logger: quiet,
	}, sqltransport.Config{
		URL: w.url, MaxConnsPerModule: 6, Backoff: o.Backoff, KeepCommands: o.KeepCommands, Poll: o.Poll, LeaseTTL: o.LeaseTTL, Logger: quiet,
	}, topo, hosted)
}
