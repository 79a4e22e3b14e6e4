package conformance_test

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"millrace/platform/bus"
	"millrace/platform/bus/kafkabridge"
	"millrace/platform/bus/sqltransport"
	"millrace/test/conformance"
)

// brokersVariable passes the brokers' addresses to the suite's child processes.
const brokersVariable = "MILLRACE_CONFORMANCE_BROKERS"

// overWhat returns, in a child process, the transport of its parent.
func overWhat(url string) conformance.World {
	if os.Getenv(brokersVariable) != "" {
		return overKafka(url)
	}
	return overSQL(url)
}

type kafkaWorld struct {
	world
	brokers []string
	prefix  string // gives each test its own topics
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
	return kafkabridge.Open(ctx, kafkabridge.Config{
		Brokers: w.brokers, Prefix: w.prefix, Session: 4 * time.Second, Sweep: time.Second, Partitions: 4, Logger: quiet,
	}, sqltransport.Config{
		URL: w.url, MaxConnsPerModule: 6, Backoff: o.Backoff, KeepCommands: o.KeepCommands, Poll: o.Poll, LeaseTTL: o.LeaseTTL, Logger: quiet,
	}, topo, hosted)
}
