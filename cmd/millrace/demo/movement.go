package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"millrace/platform/errs"
)

const (
	// patience is how long nothing at all may move before a wait is given up. A
	// slow machine that goes on with its work is waited for without any limit.
	patience = 90 * time.Second
	// maxOpen payments may be accepted and not final before another one is
	// begun: who only puts in faster than is taken out makes everybody wait.
	maxOpen = 200

	lookEvery = 250 * time.Millisecond
)

// movement watches the database for progress while others wait.
type movement struct {
	look     func(context.Context) (sight, error)
	patience time.Duration
	most     int64

	mu    sync.Mutex
	seen  sight
	begun int64     // payments since it was seen
	last  time.Time // when anything moved
	err   error     // why it could not be seen
}

// sight is what is seen at one look.
type sight struct {
	moved int64 // changes with every message that is handled, payment that is made or becomes final, parcel, mail and move
	open  int64 // payments that are accepted and not final
}

// movesOf counts, for each module, what only grows as it goes on with its work.
var movesOf = map[string]string{
	"payment":      `(SELECT count(*) + count(*) FILTER (WHERE status <> 'pending') + count(*) FILTER (WHERE status = 'refunded') FROM payment.payments)`,
	"consultation": `(SELECT count(*) FROM consultation.history)`,
	"delivery":     `(SELECT count(*) FROM delivery.history)`,
	"inquiry":      `(SELECT count(*) FROM inquiry.entry)`,
	"notification": `(SELECT count(*) FROM notification.notifications WHERE state IN ('sent', 'failed'))`,
	"dataplatform": `(SELECT count(*) FROM dataplatform.file WHERE written_at IS NOT NULL)`,
}

// movementOf watches the modules' tables, each module's in its database.
func movementOf(db func(module string) looker, modules []string) *movement {
	return &movement{patience: patience, most: maxOpen, last: time.Now(), look: func(ctx context.Context) (s sight, err error) {
		for _, module := range modules {
			var moved int64
			query := fmt.Sprintf(`SELECT %s + (SELECT coalesce(sum(position), 0)::bigint FROM %s.positions)`, movesOf[module], module)
			if err := db(module).QueryRowContext(ctx, query).Scan(&moved); err != nil {
				return s, fmt.Errorf("look at %s: %w", module, err)
			}
			s.moved += moved
		}
		return s, db("payment").QueryRowContext(ctx, `SELECT count(*) FROM payment.payments WHERE status = 'pending'`).Scan(&s.open)
	}}
}

// run looks again and again until ctx ends. A look that fails saw nothing move.
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

// stalled returns nil as long as there is reason to go on with a wait that
// began then: within its patience, or of the last time that anything moved.
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

// partyError is what went wrong with an order or a consultation.
type partyError struct {
	key string // of its conversation
	err error
}

func (e *partyError) Error() string { return e.err.Error() }
func (e *partyError) Unwrap() error { return e.err }
