// Package consultation manages the consultations between customers and hospitals:
// their fields, status, and history of moves.
//
// # Guarantees
//
//   - Every move is a row of history (who, from, to, when). The same transaction
//     moves the consultation, writes the row and publishes the event, so none of
//     them exists without the others.
//   - prevState of an event is the status after the previous move: a consultation
//     is locked during a move, and its events are published in the order of its
//     moves.
//   - Any status may move to any other, with two exceptions, which are a conflict
//     (409). A cancelled consultation (NO_SHOW, CANCELED, REJECTED) cannot be
//     confirmed (FIXED) and cannot get a new time until another move has
//     re-opened it. No consultation can be confirmed while its deposit is refunded
//     or being refunded.
//   - A move to the current status is a conflict (409), so that a repeated click
//     does not make a second card. A new reservation time is a move of its own.
//   - A change may have a condition, If-Match or the expected status, which is
//     checked under the same lock as the change. Every response has the version in
//     ETag; it grows with every change of the consultation, its history and its
//     deposits.
//   - A change of another field publishes consultation.changed without a
//     transition. A request that changes nothing publishes nothing.
//   - A request that is repeated with the same Idempotency-Key has no second
//     effect and gets the first response. A key belongs to one request
//     permanently; with another request it is refused (422).
//
// # Deposits
//
// The order key of a consultation's deposit is deposit-<consultation id>. The
// effect of a deposit payment depends on the status. If the customer sees the
// consultation as received, the payment completes the hospital's confirmation: the
// consultation moves to FIXED, by HOSPITAL. If it was cancelled or rejected, the
// module sends payment the command to refund. Otherwise (confirmed, done, no-show)
// the payment is only recorded.
//
// A move to CANCELED or REJECTED, by anyone, sends payment the command to refund a
// paid deposit, once. The deposit counts as being refunded from that transaction
// on. NO_SHOW does not refund the deposit.
//
// A consultation that was cancelled, refunded and re-opened may be paid again: the
// new payment confirms it like the first one. Refunds are matched by payment id,
// so a late refund of an earlier payment does not affect a later one.
//
// A deposit for a consultation that does not exist is a dead letter, because the
// customer paid for nothing: an operator must refund it or correct the order key.
// Waiting cannot help, since only this module assigns ids.
//
// # Not guaranteed
//
//   - That a deposit is required: a hospital may confirm without one.
//   - The amount of a deposit: the program that requests the payment decides it.
//
// Names, telephone numbers and memos leave this module only in its own HTTP
// responses.
package consultation

import (
	"embed"
	"io/fs"

	"millrace/modules/consultation/consultationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/module"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Module is the consultation module.
type Module struct {
	module.Base
	service service
}

// New returns the module. db is nil where the module is only declared and does
// not run.
func New(db *bus.DB) *Module { return &Module{service: service{db: db}} }

// Name is the module's schema and subscriber name.
func (m *Module) Name() string { return "consultation" }

// Publishes lists the module's events.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{consultationapi.Created{}, consultationapi.Changed{}}
}

// Sends lists the commands that the module sends to other modules.
func (m *Module) Sends() []bus.Command { return []bus.Command{paymentapi.Refund{}} }

// Subscriptions lists the events that the module handles.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.depositWasPaid),     // payment.completed
		bus.On(m.depositWasRefunded), // payment.refunded
	}
}

// Migrations returns the module's migrations.
func (m *Module) Migrations() fs.FS { return module.Migrations(migrations) }
