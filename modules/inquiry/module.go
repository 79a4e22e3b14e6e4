// Package inquiry is the chat between a customer and a hospital. Each
// consultation has one room, which contains status cards, posted when the
// reservation changes, and the messages of both sides.
//
// # Guarantees
//
//   - A consultation has one room, created by its first event.
//   - A move of a consultation posts at most one card: the one that the table
//     in cards.go has for the transition and the actor. A pair without a row
//     posts none, and a change without a move posts none.
//   - The cards of a room appear in the order of the moves. Cards and messages
//     share one numbering without gaps.
//   - The customer is notified of each card: notification.send is sent in the
//     transaction that posts the card.
//   - A message that is posted again with the same Idempotency-Key is stored
//     once.
//
// # Not guaranteed
//
//   - A room is created shortly after its consultation. Until then requests get
//     404 and must be repeated.
//   - The customer is known from consultation.created. If that event was
//     discarded as a dead letter, cards are still posted, but the customer is
//     not notified, because the user ID is unknown. If it is released later,
//     the customer is notified of the cards after it.
//   - The module does not check that a move may follow the one before it: the
//     consultation module decides which moves are allowed.
//
// Message texts leave this module only in its own HTTP responses.
package inquiry

import (
	"embed"
	"io/fs"

	"millrace/modules/inquiry/inquiryapi"
	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
	"millrace/platform/module"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Module is the inquiry module.
type Module struct {
	module.Base
	service service
}

// New creates the module. db is nil where the module is only declared and not
// hosted.
func New(db *bus.DB) *Module { return &Module{service: service{db: db}} }

// Name returns the name of the module's schema and subscriber.
func (m *Module) Name() string { return "inquiry" }

// Publishes lists the events that the module publishes.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{inquiryapi.CardPosted{}, inquiryapi.MessagePosted{}}
}

// Sends lists the commands that the module sends to other modules.
func (m *Module) Sends() []bus.Command { return []bus.Command{notificationapi.Send{}} }

// Subscriptions lists the events that the module handles.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.openRoom),           // consultation.created
		bus.On(m.followConsultation), // consultation.changed
	}
}

// Migrations returns the module's migrations.
func (m *Module) Migrations() fs.FS { return module.Migrations(migrations) }
