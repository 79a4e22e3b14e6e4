package postgres

import (
	"fmt"
	"net/url"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

// listenerSilence is how long a listener hears nothing until it connects anew.
const listenerSilence = 90 * time.Second

// NewListener returns a listener for notifications, on one connection beside
// any pool, to the database that cfg names; cfg's other fields but Application
// do not matter. Ping it at least once a minute: after 90 s without a word its
// connection counts as dead. It connects in the background and comes back by itself, at
// once and then at most every 5 s; what was said meanwhile is lost, and the nil
// notification after it says so. onEvent hears of connections lost and found.
func NewListener(cfg Config, onEvent pq.EventCallbackType) (*pq.Listener, error) {
	from, err := newConnector(cfg)
	if err != nil {
		return nil, err
	}
	dial := from.dial
	dial.answer = listenerSilence
	target, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, errs.InvalidField("URL", "is not a postgres:// URL")
	}
	query := target.Query()
	if query.Get("sslmode") == "" && from.SSLMode != "" {
		query.Set("sslmode", string(from.SSLMode))
	}
	if cfg.Application != "" {
		query.Set("application_name", cfg.Application)
	}
	query.Set("connect_timeout", fmt.Sprint(int(max(from.ConnectTimeout, time.Second).Seconds())))
	target.RawQuery = query.Encode()
	return pq.NewDialListener(dial, target.String(), 100*time.Millisecond, 5*time.Second, onEvent), nil
}
