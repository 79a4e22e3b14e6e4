package postgres

import (
	"fmt"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
	"millrace/platform/postgres/pgurl"
)

// listenerSilence is how long a listener may receive nothing before it reconnects.
const listenerSilence = 90 * time.Second

// NewListener returns a listener for notifications on a connection of its own, outside any
// pool. It uses only cfg.URL and cfg.Application. Ping the listener at least once a
// minute: after 90 s without a byte its connection counts as dead.
//
// It connects in the background and reconnects at once, then at most every 5 s.
// Notifications sent meanwhile are lost; after a reconnect the listener delivers a nil
// notification. onEvent is called when a connection is lost or made.
func NewListener(cfg Config, onEvent pq.EventCallbackType) (*pq.Listener, error) {
	from, err := newConnector(cfg)
	if err != nil {
		return nil, err
	}
	dial := from.dial
	dial.answer = listenerSilence
	target, err := pgurl.Parse(cfg.URL)
	if err != nil {
		return nil, errs.InvalidField("URL", "%s", err)
	}
	for name := range from.Runtime { // settings matter only for statements, and a proxy may refuse them
		target = target.With(name, "")
	}
	target = target.With("sslmode", string(from.SSLMode)).
		With("application_name", from.ApplicationName).
		With("connect_timeout", fmt.Sprint(int(max(from.ConnectTimeout, time.Second).Seconds())))
	return pq.NewDialListener(dial, target.DSN(), 100*time.Millisecond, 5*time.Second, onEvent), nil
}
