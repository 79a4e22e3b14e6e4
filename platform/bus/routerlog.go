package bus

import (
	"errors"

	"github.com/ThreeDotsLabs/watermill"
)

// routerLog is the router's logger. Watermill's router logs every error that leaves
// the middleware, at level ERROR. routerLog drops two kinds: errors that the telemetry
// middleware has logged with the message's key and attempt, and failures in a batch
// that is about to be retried with savepoints, which decides what failed.
type routerLog struct{ watermill.LoggerAdapter }

// Error logs err unless it is of one of the two kinds.
func (l routerLog) Error(msg string, err error, fields watermill.LogFields) {
	var logged loggedError
	if errors.As(err, &logged) || isRedo(err) {
		return
	}
	l.LoggerAdapter.Error(msg, err, fields)
}

// With keeps the filter on the derived logger.
func (l routerLog) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return routerLog{l.LoggerAdapter.With(fields)}
}
