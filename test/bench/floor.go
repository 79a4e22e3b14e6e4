package main

import (
	"context"
	"database/sql"
	"fmt"
	"math"
)

// The floor: what the same rows cost when nothing but PostgreSQL works, with
// prepared statements from C, one commit for each message.

const createFloorLog = `CREATE TABLE log ("offset" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid NOT NULL, type text NOT NULL,
	key text NOT NULL, payload bytea NOT NULL, metadata json NOT NULL, created_at timestamptz NOT NULL DEFAULT now())`

const (
	floorPayment = `INSERT INTO payments (id, order_key, user_id, amount, currency, transaction_key) VALUES (gen_random_uuid(), 'goods-' || :k, 'user-' || :k, 4900, 'KRW', 'tx-0123456789ab')`
	floorLog     = `INSERT INTO log (id, type, key, payload, metadata) VALUES (gen_random_uuid(), 'payment.completed', 'goods-' || :k, convert_to(repeat('x', 280), 'UTF8'), '{"ce_source":"payment","correlationid":"01890a5d-ac96-774b-bcce-b302099a8057"}')`
	floorInbox   = `INSERT INTO inbox_delivery (message_id, subscriber, topic, partition, "offset") VALUES (gen_random_uuid(), 'delivery', 'payment.events', 0, :k) ON CONFLICT DO NOTHING RETURNING message_id`
	floorEffect  = `INSERT INTO effects_delivery (payment_id, order_key, amount) SELECT message_id, 'goods-' || :k, 4900 FROM i`

	floorPublish4  = "\\set k random(0, 9999)\nBEGIN;\n" + floorPayment + ";\n" + floorLog + ";\nEND;\n"
	floorPublish1  = "\\set k random(0, 9999)\nWITH p AS (" + floorPayment + ") " + floorLog + ";\n"
	floorHandle    = "\\set k random(0, 9999)\nWITH i AS (" + floorInbox + ") " + floorEffect + ";\n"
	floorHandleHot = "\\set k random(0, 9999)\n\\set h random(0, 9)\nWITH i AS (" + floorInbox + "), e AS (" + floorEffect + ") UPDATE hot_delivery SET n = n + 1 WHERE id = :h;\n"
)

// floor runs a script with some clients, on tables as empty as a contender's.
func (r *run) floor(ctx context.Context, script string, clients int) (perSecond, cpu float64, err error) {
	if r.options.ours {
		return math.NaN(), math.NaN(), nil
	}
	if r.floorURL == "" {
		if r.floorURL, _, err = r.server.database(ctx); err != nil {
			return 0, 0, err
		}
	}
	db, err := sql.Open("postgres", r.floorURL)
	if err != nil {
		return 0, 0, err
	}
	defer db.Close() //nolint:errcheck // nothing is lost with it
	if _, err := db.ExecContext(ctx, `DROP SCHEMA public CASCADE; CREATE SCHEMA public`); err != nil {
		return 0, 0, fmt.Errorf("floor: %w", err)
	}
	if err := createTables(ctx, db); err != nil {
		return 0, 0, fmt.Errorf("floor: %w", err)
	}
	if _, err := db.ExecContext(ctx, createFloorLog); err != nil {
		return 0, 0, fmt.Errorf("floor: %w", err)
	}
	if err := r.server.settle(ctx); err != nil {
		return 0, 0, err
	}
	return r.server.pgbench(ctx, r.floorURL, script, clients, r.scale.floorSeconds)
}
