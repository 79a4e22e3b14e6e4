package sqltransport

import (
	"log/slog"
	"time"

	"millrace/platform/bus/cluster"
	"millrace/platform/bus/relay"
	"millrace/platform/errs"
)

// Config configures the transport. URL is needed; the rest has defaults.
type Config struct {
	// URL is the database, as postgres.Config wants it.
	URL string
	// RolePrefix, if it is given, makes each module's pool assume the module's role (see
	// admin.Roles), so that it has only that role's rights, whichever user signs in. The user must be
	// a member of the hosted modules' roles.
	RolePrefix string
	// MaxConnsPerModule limits each hosted module's pool: its workers use one connection each,
	// the rest serves its requests. Default 10; at least Workers + 2. Beside the modules' pools
	// the process uses SharedConns, and with a Bridge BridgeConns for each module.
	MaxConnsPerModule int
	// Workers is how many batches of a module are handled at the same time. Default 3.
	Workers int
	// BatchSize is how many messages one transaction handles at most. Default 16; with 1 each
	// message has a transaction of its own.
	BatchSize int
	// LeaseTTL is the lease time: how long the other nodes take this process for alive after it
	// has renewed its lease, which it does twice in that time. Default 2 s, at most 1 min.
	LeaseTTL time.Duration
	// Backoff are the waits before a failed message is tried again; after the last it is dead.
	// Default 250 ms, 1 s, 4 s, 10 s.
	Backoff []time.Duration
	// Poll is how often lost notifications are made up for, and maintenance runs. Default 5 s.
	Poll time.Duration
	// KeepCommands is how long a handled command stays in its queue, so that it can be traced.
	// Default 10 minutes.
	KeepCommands time.Duration
	// Bridge takes messages between databases. Default nil: all modules share this one.
	Bridge relay.Bridge
	// LostAfter is how long messages that came through a bridge wait for one before them that
	// did not arrive, until it counts as lost. Default 1 minute.
	LostAfter time.Duration
	// Logger gets what an operator should know. Default: slog.Default.
	Logger *slog.Logger
}

// BridgeConns is how many connections a bridge has for each hosted module, beside the module's
// pool: its relay and its receiver use them briefly, and neither take the connections that are
// left for requests, nor wait for them.
const BridgeConns = 2

// SharedConns is how many connections a process uses beside its modules' pools: for reading,
// for its lease, for the leases of outbound calls, the notifier, the listener.
const SharedConns = busConns + leaseConns + callConns + 2

const (
	busConns   = 4
	leaseConns = 2
	callConns  = 2
)

// connsForRequests is how many connections of a module's pool its workers leave free.
const connsForRequests = 2

func (c *Config) setDefaults() error {
	if c.URL == "" {
		return errs.InvalidField("URL", "is empty: name the database")
	}
	if c.MaxConnsPerModule == 0 {
		c.MaxConnsPerModule = 10
	}
	if c.Workers == 0 {
		c.Workers = 3
	}
	if c.Workers < 1 || c.MaxConnsPerModule < c.Workers+connsForRequests {
		return errs.InvalidField("MaxConnsPerModule", "is %d: %d workers need at least %d connections", c.MaxConnsPerModule, c.Workers, max(c.Workers, 1)+connsForRequests)
	}
	if c.BatchSize == 0 {
		c.BatchSize = 16
	}
	if c.BatchSize < 1 {
		return errs.InvalidField("BatchSize", "is %d: a transaction handles at least 1 message", c.BatchSize)
	}
	if c.LeaseTTL == 0 {
		c.LeaseTTL = 2 * time.Second
	}
	if c.LeaseTTL > cluster.MaxTTL {
		return errs.InvalidField("LeaseTTL", "is %s: it is at most %s", c.LeaseTTL, cluster.MaxTTL)
	}
	if c.Backoff == nil {
		c.Backoff = []time.Duration{250 * time.Millisecond, time.Second, 4 * time.Second, 10 * time.Second}
	}
	if c.Poll == 0 {
		c.Poll = 5 * time.Second
	}
	if c.KeepCommands == 0 {
		c.KeepCommands = 10 * time.Minute
	}
	if c.LostAfter == 0 {
		c.LostAfter = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}
