package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"millrace/platform/errs"
)

const (
	// patience is how long nothing may change before a wait is given up. A wait has
	// no limit while anything changes.
	patience = 90 * time.Second
	// maxOpen is how many payments may be open before the next must wait: otherwise
	// the clients would be faster than the program, and everything would queue.
	maxOpen = 200

	lookEvery = 250 * time.Millisecond
)

// movement polls the database for changes.
type movement struct {
	look     func(context.Context) (sight, error)
	patience time.Duration
	most     int64

	mu    sync.Mutex
	seen  sight
	begun int64     // payments begun since the last look
	last  time.Time // the time of the last change
	err   error     // the error of the last look
}

// sight is the result of one look.
type sight struct {
	moved int64 // grows with every handled message, new or final payment, parcel, mail and move
	open  int64 // accepted payments that are not final
}

// movesOf has, for each module, a query of a number that grows as the module works.
var movesOf = map[string]string{
	"payment":      `(SELECT count(*) + count(*) FILTER (WHERE status <> 'pending') + count(*) FILTER (WHERE status = 'refunded') FROM payment.payments)`,
	"consultation": `(SELECT count(*) FROM consultation.history)`,
	"delivery":     `(SELECT count(*) FROM delivery.history)`,
	"inquiry":      `(SELECT count(*) FROM inquiry.entry)`,
	"notification": `(SELECT count(*) FROM notification.notifications WHERE state IN ('sent', 'failed'))`,
	"dataplatform": `(SELECT count(*) FROM dataplatform.file WHERE written_at IS NOT NULL)`,
}

// movementOf watches each module's tables, in the module's database.
func movementOf(db func(module string) looker, modules []string) *movement {
	return &movement{patience: patience, most: maxOpen, last: time.Now(), look: func(ctx context.Context) (s sight, err error) {
		for _, module := range modules {
			var moved int64
			query := fmt.Sprintf(`SELECT %s + (SELECT coalesce(sum(committed_offset), 0)::bigint FROM %s.offsets)`, movesOf[module], module)
			if err := db(module).QueryRowContext(ctx, query).Scan(&moved); err != nil {
				return s, fmt.Errorf("look at %s: %w", module, err)
			}
			s.moved += moved
		}
		return s, db("payment").QueryRowContext(ctx, `SELECT count(*) FROM payment.payments WHERE status = 'pending'`).Scan(&s.open)
	}}
}

// run looks at intervals until ctx ends. A look that fails counts as no change.
func (m *movement) run(ctx context.Context) {
	for {
		seen, err := m.look(ctx)
		m.mu.Lock()
		if m.err = err; err == nil {
			if seen.moved != m.seen.moved {
				m.last = time.Now()
			}
			m.seen, m.begun = seen, 0
		}
		m.mu.Unlock()
		if pause(ctx, lookEvery) != nil {
			return
		}
	}
}

// stalled returns an error if nothing has changed for the patience, counted from
// began or from the last change.
func (m *movement) stalled(began time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last.After(began) {
		began = m.last
	}
	if time.Since(began) <= m.patience {
		return nil
	}
	if m.err != nil {
		return errs.New(errs.Resource, "nothing was seen to move for %s: %w", m.patience, m.err)
	}
	return errs.New(errs.Timeout, "nothing moved for %s, with %d payments open", m.patience, m.seen.open)
}

// room waits until another payment may begin, and counts it.
func (m *movement) room(ctx context.Context) error {
	for began := time.Now(); ; {
		m.mu.Lock()
		free := m.seen.open+m.begun < m.most
		if free {
			m.begun++
		}
		m.mu.Unlock()
		if free {
			return nil
		}
		if err := m.stalled(began); err != nil {
			return fmt.Errorf("there was no room for another payment: %w", err)
		}
		if err := pause(ctx, lookEvery/5); err != nil {
			return err
		}
	}
}

// partyError is an error of an order or a consultation.
type partyError struct {
	key string // the order's or consultation's key, for its timeline
	err error
}

func (e *partyError) Error() string { return e.err.Error() }
func (e *partyError) Unwrap() error { return e.err }
