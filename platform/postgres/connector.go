package postgres

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lib/pq"
)

// connector makes connections that keep prepared statements.
type connector struct {
	pq.Config
	dial dialer
	// behindProxy is set by Open if a proxy does not forward the settings in a session's
	// first packet: each session then applies them by a statement.
	behindProxy bool
	tested      pqConn        // the probe's connection, which the pool uses first
	looking     chan struct{} // held by the connection that asks which process blocks it
}

func (c *connector) Driver() driver.Driver { return &pq.Driver{} }

// raw opens a connection of lib/pq. Its error tries to help an operator.
func (c *connector) raw(ctx context.Context) (pqConn, error) {
	opened, err := c.start(ctx)
	if err != nil {
		return nil, c.cannotConnect(err)
	}
	return opened, nil
}

// start is raw with lib/pq's own error.
func (c *connector) start(ctx context.Context) (pqConn, error) {
	cfg := c.Config.Clone()
	if c.behindProxy {
		cfg.Runtime = map[string]string{}
	}
	inner, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}
	inner.Dialer(c.dial)
	opened, err := inner.Connect(ctx)
	if err != nil {
		return nil, err
	}
	able, ok := opened.(pqConn)
	if !ok {
		_ = opened.Close() // the connection is unusable
		return nil, fmt.Errorf("lib/pq's connection %T lacks an interface of database/sql/driver", opened)
	}
	if c.behindProxy {
		if _, err := able.ExecContext(ctx, settings(c.Runtime), nil); err != nil {
			_ = able.Close() // report the first error
			return nil, err
		}
	}
	return able, nil
}

// settings is the statement that applies a session's settings.
func settings(runtime map[string]string) string {
	var calls []string
	for _, name := range slices.Sorted(maps.Keys(runtime)) {
		calls = append(calls, "pg_catalog.set_config("+pq.QuoteLiteral(name)+", "+pq.QuoteLiteral(runtime[name])+", false)")
	}
	return "SELECT " + strings.Join(calls, ", ")
}

// refusesSettings reports whether a proxy refused the connection because of a setting
// in its first packet, as PgBouncer does.
func refusesSettings(err error) bool {
	var pg *pq.Error
	return errors.As(err, &pg) && strings.Contains(pg.Message, "unsupported startup parameter")
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw := c.tested
	if raw != nil { // only in Open, which no other goroutine uses yet
		c.tested = nil
	} else {
		var err error
		if raw, err = c.raw(ctx); err != nil {
			return nil, err
		}
	}
	pid, err := backend(ctx, raw)
	if err != nil {
		_ = raw.Close() // the connection is unusable
		return nil, c.cannotConnect(err)
	}
	return &conn{pqConn: raw, from: c, statements: map[string]*list.Element{}, recent: list.New(), watch: newWatch(c, pid)}, nil
}
