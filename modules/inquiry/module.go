// Package inquiry is the chat between a customer and a hospital: one room for
// each consultation, with status cards that appear as the reservation moves and
// the messages that both sides write.
//
// # What it promises
//
//   - A consultation has one room, opened when its first event is heard.
//   - A move of a consultation posts at most one card: the one that the table of
//     cards (cards.go) has for who did what. A pair without a row posts none,
//     and a change that moved nothing posts none.
//   - Cards of a room appear in the order of the moves. Cards and messages share
//     one numbering without gaps.
//   - A card is told to the customer: notification.send is sent in the
//     transaction that posts it.
//   - A message that is posted again with the same Idempotency-Key is posted
//     once.
//
// # What it does not promise
//
//   - A room exists a moment after its consultation does; until then it is not
//     found (404), and the request is to be repeated.
//   - The customer of a consultation is known from consultation.created. If that
//     was discarded as a dead letter, cards are still posted, but nobody is
//     told: the user is not known. A consultation.created that is released
//     later makes the customer known for the cards after it.
//   - It does not check a move against the one before it: what moves are
//     possible is the consultation module's to say.
//
// What people write never leaves this module but by its own HTTP answers.
package inquiry

import (
	"context"
	"embed"
	"io/fs"

	"millrace/modules/inquiry/inquiryapi"
	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is empty: nothing about this module is configurable.
type Config struct{}

// Module is the inquiry module.
type Module struct{ service service }

// New makes the module on its database, which is nil where the module is only
// declared and not hosted.
func New(db *bus.DB, _ Config) *Module { return &Module{service: service{db: db}} }

// Name is the module's schema and subscriber.
func (m *Module) Name() string { return "inquiry" }

// Publishes lists its events.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{inquiryapi.CardPosted{}, inquiryapi.MessagePosted{}}
}

// Sends lists the commands that it sends to others.
func (m *Module) Sends() []bus.Command { return []bus.Command{notificationapi.Send{}} }

// Subscriptions lists what it hears.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.openRoom),           // consultation.created
		bus.On(m.followConsultation), // consultation.changed
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
