// Package consultation keeps the consultations between customers and hospitals:
// their fields, the status each is in, and every move it made.
//
// # What it promises
//
//   - Every move is a row of history (who, from, to, when), written in the
//     transaction that moves the consultation and publishes the event. There is
//     no move without its event, and no event of a move without its row.
//   - prevState of an event is the status that the move before it left behind:
//     a consultation is locked while it moves, and events of one consultation
//     are published in the order of its moves.
//   - Any status may move to any other. Moving to the status that it is in
//     already is a conflict (409), so that a click repeated by mistake makes no
//     second card; a new time for the reservation is a move of its own.
//   - Changing any other field publishes consultation.changed without a
//     transition; changing nothing publishes nothing.
//   - A request that is repeated with the same Idempotency-Key has no second
//     effect and gets the first one's answer. A key belongs to one request for
//     ever; used for another request it is refused (422).
//
// # Deposits
//
// The order key of a consultation's deposit is deposit-<consultation id>. A
// deposit that was paid completes the hospital's confirmation: the consultation
// moves to FIXED, decided by HOSPITAL, if the customer still sees it as
// received. If it is confirmed or done, or the customer did not come, the
// deposit is only recorded. If it was cancelled or rejected in the meantime,
// payment is asked to refund.
//
// A move to CANCELED or REJECTED, by anyone, asks payment to refund a deposit
// that is paid, once. NO_SHOW does not: the deposit is there for that.
//
// A deposit for a consultation that does not exist is a dead letter, which an
// operator sees: somebody paid, and must be paid back by hand or have the order
// key corrected. Ids are given out by this module only, so waiting cannot help.
//
// # What it does not promise
//
//   - That a deposit is required: a hospital may confirm without one.
//   - Amounts: what a deposit costs is the business of who asks for the payment.
//
// Names, telephone numbers and memos never leave this module but by its own
// HTTP answers.
package consultation

import (
	"context"
	"embed"
	"io/fs"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is empty: nothing about this module is configurable.
type Config struct{}

// Module is the consultation module.
type Module struct{ service service }

// New makes the module on its database, which is nil where the module is only
// declared and not hosted.
func New(db *bus.DB, _ Config) *Module { return &Module{service: service{db: db}} }

// Name is the module's schema and subscriber.
func (m *Module) Name() string { return "consultation" }

// Publishes lists its events.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{consultationapi.Created{}, consultationapi.Changed{}}
}

// Sends lists the commands that it sends to others.
func (m *Module) Sends() []bus.Command { return []bus.Command{paymentapi.Refund{}} }

// Subscriptions lists what it hears.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.depositPaid),     // payment.completed
		bus.On(m.depositRefunded), // payment.refunded
	}
}

// Migrations are its tables.
func (m *Module) Migrations() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return files
}

// Run has no background work to do.
func (m *Module) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
