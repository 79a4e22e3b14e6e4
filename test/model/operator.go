package model

import (
	"context"
	"fmt"

	"millrace/platform/bus/deadletter"
)

// decide retries or discards, as an operator, a message that the model has as dead.
func (r *runner) decide(s step) {
	type letter struct {
		subscriber string
		n          int
	}
	var dead []letter
	for _, subscriber := range []string{"store", "late"} {
		if r.model.subscribers[subscriber] == nil {
			continue
		}
		parked := r.model.of(subscriber, nil).parked
		for n := 1; n <= r.last; n++ {
			if parked[n] == "dead" {
				dead = append(dead, letter{subscriber, n})
			}
		}
	}
	if len(dead) == 0 {
		return
	}
	r.current()
	l := dead[s.Which%len(dead)]
	var id string
	r.wait(func() string {
		err := r.sql.QueryRowContext(context.Background(), fmt.Sprintf(`SELECT '%[1]s/' || id FROM %[1]s.parked_messages WHERE state = 'dead' AND (convert_from(payload, 'UTF8')::json->>'n')::int = $1`, l.subscriber), l.n).Scan(&id)
		if err != nil {
			return fmt.Sprintf("message %d is not dead at %s: %v\n%s", l.n, l.subscriber, err, r.differences())
		}
		return ""
	})
	if s.Do == "discard" {
		r.model.subscribers[l.subscriber].discarded[l.n] = true
		_, err := r.sql.ExecContext(context.Background(), `UPDATE public.plan SET fails = 0 WHERE subscriber = $1 AND n = $2`, l.subscriber, l.n)
		r.must(err) // another attempt would succeed and have an effect: there must be none
		r.must(deadletter.Discard(context.Background(), r.sql, []string{l.subscriber}, id, "model", "its turn"))
		return
	}
	if s.Flag {
		_, err := r.sql.ExecContext(context.Background(), `UPDATE public.plan SET fails = 0 WHERE subscriber = $1 AND n = $2`, l.subscriber, l.n)
		r.must(err)
		delete(r.model.subscribers[l.subscriber].fails, l.n)
	}
	r.must(deadletter.Retry(context.Background(), r.sql, []string{l.subscriber}, id))
}
