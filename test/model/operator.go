package model

import (
	"context"
	"fmt"

	"millrace/platform/bus/deadletter"
)

// decide has an operator act on a message that must be dead, or soon will be.
func (r *runner) decide(s step) {
	type letter struct {
		subscriber string
		n          int
	}
	var dead []letter
	for _, subscriber := range []string{"store", "late"} {
		if r.model.ears[subscriber] == nil {
			continue
		}
		aside := r.model.of(subscriber, nil).aside
		for n := 1; n <= r.last; n++ {
			if aside[n] == "dead" {
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
		err := r.sql.QueryRowContext(context.Background(), fmt.Sprintf(`SELECT '%[1]s/' || id FROM %[1]s.aside WHERE state = 'dead' AND (convert_from(payload, 'UTF8')::json->>'n')::int = $1`, l.subscriber), l.n).Scan(&id)
		if err != nil {
			return fmt.Sprintf("message %d is not dead at %s: %v\n%s", l.n, l.subscriber, err, r.differences())
		}
		return ""
	})
	if s.Do == "discard" {
		r.model.ears[l.subscriber].discarded[l.n] = true
		_, err := r.sql.ExecContext(context.Background(), `UPDATE public.plan SET fails = 0 WHERE subscriber = $1 AND n = $2`, l.subscriber, l.n)
		r.must(err) // a second try would succeed: there must be none
		r.must(deadletter.Discard(context.Background(), r.sql, []string{l.subscriber}, id, "model", "its turn"))
		return
	}
	if s.Flag {
		_, err := r.sql.ExecContext(context.Background(), `UPDATE public.plan SET fails = 0 WHERE subscriber = $1 AND n = $2`, l.subscriber, l.n)
		r.must(err)
		delete(r.model.ears[l.subscriber].fails, l.n)
	}
	r.must(deadletter.Retry(context.Background(), r.sql, []string{l.subscriber}, id))
}
