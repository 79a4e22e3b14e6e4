package demo

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/lib/pq"

	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/bus"
	"millrace/platform/mail/devinbox"
)

// Scene gives a caller who compares runs access to a run's database, brokers,
// gateway and mails.
type Scene struct {
	DB       *sql.DB // if split: a copy of all databases, made for this call
	Topology *bus.Topology
	Brokers  []string // empty unless messages travel by Kafka
	Prefix   string   // the prefix of this run's topics
	Book     func() simulator.Book
	Mails    func() []devinbox.Message
}

// waitForTheGateway sets every process's time limit for the gateway's answers.
func (s *stage) waitForTheGateway(limit time.Duration) {
	s.serving.Payment.Gateway.Timeout = limit
	for _, p := range s.parts {
		p.serving.Payment.Gateway.Timeout = limit
	}
}

func (s *stage) show(ctx context.Context, to func(context.Context, Scene) error) error {
	if to == nil {
		return nil
	}
	if len(s.parts) > 0 {
		if err := s.collect(ctx); err != nil {
			return err
		}
	}
	kafka := s.serving.Kafka
	return to(ctx, Scene{DB: s.db, Topology: s.topo, Brokers: kafka.Brokers, Prefix: kafka.Prefix, Book: s.simulator.Book, Mails: s.inbox.Messages})
}

// settled waits until every subscriber has handled all messages of the keys, and none
// of their payments is open. If a caller waits like this between two requests, every
// run has the same result, even if the gateway is slow. Only ctx limits the wait.
func (s *stage) settled(ctx context.Context, keys ...string) error {
	var parts []string
	for _, h := range subscriptions(s.topo) {
		parts = append(parts, fmt.Sprintf(`SELECT 1 FROM (SELECT * FROM %[1]s) m WHERE m.key = ANY($1) AND m.type IN ('%[2]s')
			AND NOT EXISTS (SELECT 1 FROM %[3]s.inbox i WHERE i.subscriber = '%[3]s' AND i.message_id = m.id AND split_part(i.topic, '/', 1) = split_part('%[4]s', '/', 1))
			AND NOT EXISTS (SELECT 1 FROM %[3]s.parked_messages a WHERE a.subscriber = '%[3]s' AND a.message_id = m.id AND split_part(a.topic, '/', 1) = split_part('%[4]s', '/', 1) AND a.state IN ('dead', 'discarded'))`,
			h.table, strings.Join(h.types, "', '"), h.subscriber, h.topic))
	}
	query := `SELECT EXISTS (` + strings.Join(parts, " UNION ALL ") + `
		UNION ALL SELECT 1 FROM payment.payments WHERE order_key = ANY($1) AND status IN ('pending', 'refunding')
		UNION ALL SELECT 1 FROM consultation.deposit WHERE state = 'refund_requested' AND consultation_id::text = ANY($1))`
	for {
		var open bool
		err := s.snapshot(ctx, func(tx looker) error {
			return tx.QueryRowContext(ctx, query, pq.Array(keys)).Scan(&open)
		})
		if err != nil {
			return fmt.Errorf("look whether all is settled: %w", err)
		}
		if !open {
			return nil
		}
		if err := pause(ctx, 30*time.Millisecond); err != nil {
			return err
		}
	}
}
