package conformance

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus"
	busstore "millrace/platform/bus/store"
	"millrace/platform/errs"
)

// fault is a problem in a handler's environment that its message does not cause.
// The message must be handled after the fault ends, and use no attempt.
type fault struct {
	handler func(ctx context.Context, tx *bus.Tx) error
	breaks  string // starts the fault; if mends is empty, in a transaction that stays open until the fault ends
	mends   string // ends the fault
}

func run(statements ...string) func(context.Context, *bus.Tx) error {
	return func(ctx context.Context, tx *bus.Tx) error {
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}
}

func faults() map[string]fault {
	insert := run(`INSERT INTO parcels (label) VALUES ('new')`)
	update := run(`UPDATE parcels SET label = 'sent' WHERE id = 1`)
	return map[string]fault{
		"TableLockedExclusive":       {handler: insert, breaks: `LOCK TABLE store.parcels IN EXCLUSIVE MODE`},
		"TableLockedShare":           {handler: insert, breaks: `LOCK TABLE store.parcels IN SHARE MODE`},
		"TableLockedAccessExclusive": {handler: run(`SELECT count(*) FROM parcels`), breaks: `LOCK TABLE store.parcels IN ACCESS EXCLUSIVE MODE`},
		"RowLocked":                  {handler: update, breaks: `UPDATE store.parcels SET label = 'held' WHERE id = 1`},
		"UniqueKeyUncommitted": {
			handler: run(`INSERT INTO parcels (id, label) OVERRIDING SYSTEM VALUE VALUES (777777, '') ON CONFLICT DO NOTHING`),
			breaks:  `INSERT INTO store.parcels (id, label) OVERRIDING SYSTEM VALUE VALUES (777777, '')`,
		},
		"ParentRowLocked": {
			handler: run(`INSERT INTO lines VALUES (3)`), // waits for the referenced row, which no other fault uses
			breaks:  `UPDATE store.parcels SET id = DEFAULT, label = 'held' WHERE id = 3`,
		},
		"AdvisoryLocked":  {handler: run(`SELECT pg_advisory_xact_lock(17)`), breaks: `SELECT pg_advisory_xact_lock(17)`},
		"NoWait":          {handler: run(`SELECT 1 FROM parcels WHERE id = 1 FOR UPDATE NOWAIT`), breaks: `UPDATE store.parcels SET label = 'held' WHERE id = 1`},
		"OwnLockTimeout":  {handler: run(`SET LOCAL lock_timeout = '20ms'`, `UPDATE parcels SET label = 'sent' WHERE id = 1`), breaks: `UPDATE store.parcels SET label = 'held' WHERE id = 1`},
		"DeadlineInALock": {handler: run(`SELECT pg_sleep(0.9)`, `SET LOCAL lock_timeout = 0`, `UPDATE parcels SET label = 'sent' WHERE id = 1`), breaks: `UPDATE store.parcels SET label = 'held' WHERE id = 1`},
		"OwnContextInALock": {handler: func(_ context.Context, tx *bus.Tx) error {
			return run(`SET LOCAL lock_timeout = 0`, `UPDATE parcels SET label = 'sent' WHERE id = 1`)(context.Background(), tx)
		}, breaks: `UPDATE store.parcels SET label = 'held' WHERE id = 1`},
		"DeferredConstraintLocked": {handler: run(`INSERT INTO later VALUES (1)`), breaks: `UPDATE store.parcels SET id = DEFAULT, label = 'held' WHERE id = 1`},

		"TableMissing":    {handler: insert, breaks: `ALTER TABLE store.parcels RENAME TO gone`, mends: `ALTER TABLE store.gone RENAME TO parcels`},
		"ColumnMissing":   {handler: insert, breaks: `ALTER TABLE store.parcels RENAME label TO gone`, mends: `ALTER TABLE store.parcels RENAME gone TO label`},
		"FunctionMissing": {handler: run(`SELECT labelled()`), breaks: `ALTER FUNCTION store.labelled RENAME TO gone`, mends: `ALTER FUNCTION store.gone RENAME TO labelled`},
		"RightMissing": {
			handler: func(ctx context.Context, tx *bus.Tx) error {
				return run(`SET LOCAL ROLE pg_read_all_data`, `SELECT touch()`, `RESET ROLE`)(ctx, tx)
			},
			breaks: `REVOKE EXECUTE ON FUNCTION store.touch FROM public`, mends: `GRANT EXECUTE ON FUNCTION store.touch TO public`,
		},
		"ReadOnly": {
			handler: func(ctx context.Context, tx *bus.Tx) error {
				return run(`SELECT set_config('transaction_read_only', label, true) FROM mode`, `SELECT nextval('tickets')`)(ctx, tx)
			},
			breaks: `UPDATE store.mode SET label = 'on'`, mends: `UPDATE store.mode SET label = 'off'`,
		},
		"SequenceBehind":         {handler: insert, breaks: `SELECT setval('store.parcels_id_seq', 1)`, mends: `SELECT setval('store.parcels_id_seq', 1000)`},
		"DefaultSequenceBehind":  {handler: run(`INSERT INTO visits DEFAULT VALUES`), breaks: `SELECT setval('store.tickets', 1)`, mends: `SELECT setval('store.tickets', 1000)`},
		"SequenceAtItsEnd":       {handler: run(`SELECT nextval('short')`), breaks: `SELECT setval('store.short', 2)`, mends: `ALTER SEQUENCE store.short MAXVALUE 100000`},
		"ReplicaIdentityMissing": {handler: update, breaks: `CREATE PUBLICATION all_of_it FOR TABLE store.parcels; ALTER TABLE store.parcels REPLICA IDENTITY NOTHING`, mends: `DROP PUBLICATION all_of_it`},
		"UniqueIndexOfAnUpsert":  {handler: run(`INSERT INTO mode VALUES ('off') ON CONFLICT (label) DO NOTHING`), breaks: `ALTER TABLE store.mode DROP CONSTRAINT mode_pkey`, mends: `ALTER TABLE store.mode ADD CONSTRAINT mode_pkey PRIMARY KEY (label)`},
		"StatementCancelledByHand": {handler: func(ctx context.Context, tx *bus.Tx) error {
			return run(`SELECT CASE WHEN label = 'on' THEN pg_cancel_backend(pg_backend_pid()) END FROM mode`, `SELECT pg_sleep(0.01)`)(ctx, tx)
		}, breaks: `UPDATE store.mode SET label = 'on'`, mends: `UPDATE store.mode SET label = 'off'`},
	}
}

const environmentTables = `
CREATE TABLE store.parcels (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text NOT NULL);
INSERT INTO store.parcels (label) SELECT '' FROM generate_series(1, 50);
CREATE TABLE store.lines (parcel bigint REFERENCES store.parcels);
CREATE TABLE store.later (parcel bigint REFERENCES store.parcels DEFERRABLE INITIALLY DEFERRED);
CREATE SEQUENCE store.tickets;
CREATE SEQUENCE store.short MAXVALUE 2;
CREATE TABLE store.visits (id bigint PRIMARY KEY DEFAULT nextval('store.tickets'));
INSERT INTO store.visits SELECT nextval('store.tickets') FROM generate_series(1, 50);
CREATE TABLE store.mode (label text PRIMARY KEY);
INSERT INTO store.mode VALUES ('off');
CREATE FUNCTION store.labelled() RETURNS int LANGUAGE sql RETURN 1;
CREATE FUNCTION store.touch() RETURNS int LANGUAGE sql RETURN 1;
GRANT USAGE ON SCHEMA store TO public;`

func environment(t *testing.T, b *bench) {
	all := faults()
	var failed sync.Map // fault's name → *atomic.Int32: failures of its handler
	broken := make(chan string, 10_000)
	handler := func(ctx context.Context, tx *bus.Tx, m paid) error {
		f, ok := all[m.Order]
		if !ok {
			return note(ctx, tx, m)
		}
		err := f.handler(ctx, tx)
		if err != nil {
			count, _ := failed.LoadOrStore(m.Order, &atomic.Int32{})
			if count.(*atomic.Int32).Add(1) == 3 {
				broken <- m.Order
			}
			return err
		}
		return note(ctx, tx, m)
	}
	topo := b.prepare(shop(), store(bus.On(handler)))
	b.exec(environmentTables)
	// One wait allows two attempts, and the test awaits 3 failures: a fault that used attempts would end in a dead letter.
	p := b.host(Options{Backoff: soon[:1]}, topo, topo.Modules())
	handled := 0
	for _, name := range slices.Sorted(maps.Keys(all)) { // one at a time: faults of the same table affect each other
		f := all[name]
		mend := b.broken(f)
		p.publish(paid{Order: name}, paid{Order: name, N: 1})
		switch name {
		case "DeferredConstraintLocked": // waits in the commit: the handler itself does not fail
			b.waiters("store.parcels", 3)
		default:
			require.Equal(t, name, await(t, name+" fails again and again", broken))
		}
		p.publish(paid{Order: "beside-" + name})
		mend()
		handled += 3
		b.becomes(itoa(handled), `SELECT count(*) FROM store.effects`)
		require.Equal(t, "", b.text(`SELECT string_agg(line, ', ') FROM store.parked_ever`), "%s used an attempt", name)
		require.Equal(t, "0,1", b.text(`SELECT string_agg(n::text, ',' ORDER BY at) FROM store.effects WHERE key = $1`, name))
	}
}

// broken starts a fault and returns a function that ends it.
func (b *bench) broken(f fault) (mend func()) {
	b.t.Helper()
	if f.mends != "" {
		b.exec(f.breaks)
		return func() { b.exec(f.mends) }
	}
	return b.lock(f.breaks)
}

// lock runs a statement in a transaction that stays open, with its locks, until
// release rolls it back.
func (b *bench) lock(statement string) (release func()) {
	b.t.Helper()
	holder, err := b.sql.BeginTx(context.Background(), nil)
	require.NoError(b.t, err)
	for _, text := range []string{`SET LOCAL idle_in_transaction_session_timeout = 0`, statement} {
		_, err = holder.ExecContext(context.Background(), text)
		require.NoError(b.t, err)
	}
	release = sync.OnceFunc(func() { require.NoError(b.t, holder.Rollback()) })
	b.t.Cleanup(release)
	return release
}

// waiters waits until at least that many transactions have been seen waiting for a
// lock, at the same time or one after the other.
func (b *bench) waiters(what string, least int) {
	b.t.Helper()
	seen := map[string]bool{}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); len(seen) < least; <-tick.C {
		var now []sql.NullString
		require.NoError(b.t, b.sql.QueryRowContext(context.Background(), `SELECT array_agg(l.virtualtransaction) FROM pg_locks l
			JOIN pg_stat_activity a USING (pid) WHERE a.datname = current_database() AND NOT l.granted`).Scan(pq.Array(&now)))
		for _, transaction := range now {
			seen[transaction.String] = true
		}
		require.False(b.t, time.Now().After(deadline), "%d transactions waited for %s, not %d", len(seen), what, least)
	}
}

// ownStatements locks the tables that the bus itself writes.
func ownStatements(t *testing.T, b *bench) {
	handler := bus.On(func(ctx context.Context, tx *bus.Tx, m paid) error {
		if err := note(ctx, tx, m); err != nil {
			return err
		}
		return tx.Publish(packed{m.Order, m.N})
	})
	topo := b.prepare(shop(), part{name: "store", publishes: []bus.Event{packed{}}, subscribes: []bus.Subscription{handler}})
	p := b.host(Options{Backoff: soon[:1]}, topo, topo.Modules())
	handled := 0
	for _, lock := range []string{
		`LOCK TABLE store.inbox IN EXCLUSIVE MODE`,   // redelivered messages
		`LOCK TABLE store.offsets IN EXCLUSIVE MODE`, // committed offsets
		`LOCK TABLE store.log IN EXCLUSIVE MODE`,     // what the handlers publish, just before the commit
		`LOCK TABLE store.inbox, store.log, store.parked_messages IN SHARE MODE`,
	} {
		release := b.lock(lock)
		p.publish(batch(5, 2)...)
		b.waiters(lock, 6)
		require.Equal(t, itoa(handled), b.text(`SELECT count(*) FROM store.effects`), lock)
		release()
		handled += 10
		b.becomes(itoa(handled), `SELECT count(*) FROM store.effects`)
		require.Equal(t, "", b.text(`SELECT string_agg(line, ', ') FROM store.parked_ever`), lock)
	}
	require.Equal(t, itoa(handled), b.text(`SELECT count(*) FROM store.log`))
}

// manyLocked locks a table while many orders arrive that need it. Other messages of
// the same module must still be handled.
func manyLocked(t *testing.T, b *bench) {
	const orders = 20
	var waited atomic.Int32
	handler := on(func(ctx context.Context, tx *bus.Tx, m paid) error {
		err := run(`INSERT INTO parcels (label) VALUES ('new')`)(ctx, tx)
		if errs.Locked(err) {
			waited.Add(1)
		}
		return err
	})
	free := bus.On(func(ctx context.Context, tx *bus.Tx, n noted) error { return effect(ctx, tx, n.Order, n.N) })
	topo := b.prepare(shop(), store(handler, free))
	b.exec(environmentTables)
	o := Options{Backoff: soon[:1]}
	p := b.host(o, topo, topo.Modules())
	release := b.lock(`LOCK TABLE store.parcels IN EXCLUSIVE MODE`)
	partitions := map[int]bool{}
	var paidFor []bus.Event
	for n := range orders {
		key := "order-" + itoa(n)
		partitions[busstore.PartitionOf(key)] = true
		paidFor = append(paidFor, paid{Order: key})
	}
	p.publish(paidFor...)
	b.waiters("store.parcels", orders)
	var beside []bus.Event
	for n := 0; len(beside) < orders; n++ {
		if key := "free-" + itoa(n); !partitions[busstore.PartitionOf(key)] {
			beside = append(beside, noted{Order: key})
		}
	}
	p.publish(beside...)
	b.becomes(itoa(orders), `SELECT count(*) FROM store.effects`) // while the lock is held
	b.waiters("store.parcels", 3*orders)
	require.Positive(t, waited.Load())
	p.stop() // a paused partition does not delay the shutdown
	b.host(o, topo, topo.Modules())
	b.waiters("store.parcels", orders)
	release()
	b.becomes(itoa(2*orders), `SELECT count(*) FROM store.effects`)
	b.onceInOrder("store", 2*orders, 1)
	require.Equal(t, "", b.text(`SELECT string_agg(line, ', ') FROM store.parked_ever`))
}

// lockedRetry fails a message by its own error first; its retry then waits for a lock.
func lockedRetry(t *testing.T, b *bench) {
	var tries atomic.Int32
	topo := b.prepare(shop(), store(on(func(ctx context.Context, tx *bus.Tx, _ paid) error {
		if tries.Add(1) <= 2 { // the first batch, and the isolated batch
			return errs.New(errs.Unknown, "by its own fault")
		}
		return run(`INSERT INTO parcels (label) VALUES ('new')`)(ctx, tx)
	})))
	b.exec(environmentTables)
	p := b.host(Options{Backoff: soon[:1]}, topo, topo.Modules())
	release := b.lock(`LOCK TABLE store.parcels IN SHARE MODE`)
	p.publish(paid{Order: "order"}, paid{Order: "order", N: 1})
	b.waiters("store.parcels", 4)
	require.Equal(t, "retry_scheduled unknown 1", b.text(`SELECT format('%s %s %s', state, kind, attempts) FROM store.parked_messages ORDER BY "offset" LIMIT 1`))
	release()
	b.becomes("2", `SELECT count(*) FROM store.effects`)
	b.nothingParked("store")
}

// keyCollision has a handler that generates a new key in each attempt; the first
// two keys exist already.
func keyCollision(t *testing.T, b *bench) {
	var tries atomic.Int32
	topo := b.prepare(shop(), store(on(func(ctx context.Context, tx *bus.Tx, _ paid) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO mode VALUES ($1)`, map[bool]string{true: "off", false: "drawn"}[tries.Add(1) <= 2])
		return err
	})))
	b.exec(environmentTables)
	p := b.host(Options{Backoff: soon}, topo, topo.Modules())
	p.publish(paid{Order: "order"})
	b.becomes("1", `SELECT count(*) FROM store.effects`)
	b.nothingParked("store")
}
