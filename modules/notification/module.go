// Package notification tells users, by e-mail, what happened to their orders
// and reservations.
//
// # What it promises
//
//   - Each message that it hears, and each notification.send, makes exactly one
//     notification: a unique constraint on the message's id says so, besides
//     the inbox.
//   - A user whose contact is not known is told later: the notification waits
//     in awaiting_contact, and saying the contact releases it. The two may come
//     at the same moment.
//   - A notification becomes sent when the mail server accepted the mail, and
//     failed when the server refused it for good or Config.MaxAttempts calls
//     had no success. notification.sent or notification.failed is said in the
//     transaction that records it, once.
//   - The address and the language are read when the mail is made: a corrected
//     contact serves what is still queued.
//   - A notification.send with an unknown template, or without a parameter that
//     the template needs, is a dead letter at once: nobody could be told.
//
// # What is at least once
//
// The mail itself. When the process dies after the server's acceptance and
// before our record of it, the mail is sent again, with the same Message-ID
// (<notification id>@<domain of the sender>), by which a mailbox may drop it.
//
// # What it does not promise
//
//   - That a mail was read, or reached its mailbox: the server accepted it.
//   - Order: two mails about one order may arrive the other way round.
//
// Amounts are written by the decimals of their currency (KRW has none). The
// texts are in Korean and English, one file each in templates. Addresses never
// leave this module but as the recipient of a mail.
package notification

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
	"millrace/platform/dispatch"
	"millrace/platform/mail"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what may be set from outside. Zero values, but for Mail's, are the
// defaults.
type Config struct {
	Mail        mail.Config     // the mail server
	Workers     int             // mails in flight in this process; 0 means 8
	MaxAttempts int             // calls before a notification is failed; 0 means 200, about an hour
	Backoff     []time.Duration // before the 2nd, 3rd … call, the last one repeats; nil means 200 ms … 20 s
}

const (
	defaultAttempts = 200
	callTimeout     = 8 * time.Second // of one attempt, unless Config.Mail says less
)

// defaultBackoff ends at 20 s, so that mail flows again soon after a server is back.
var defaultBackoff = []time.Duration{
	200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second,
}

// Module is the notification module.
type Module struct {
	service *service
	faulty  error // of the mail server's configuration
}

// New makes the module on its database, which is nil where the module is only
// declared and not hosted. Run tells what is wrong with the mail server's
// configuration.
func New(db *bus.DB, cfg Config) *Module {
	if cfg.MaxAttempts == 0 {
		cfg.MaxAttempts = defaultAttempts
	}
	if cfg.Backoff == nil {
		cfg.Backoff = defaultBackoff
	}
	if cfg.Workers == 0 {
		cfg.Workers = 8
	}
	m := &Module{service: &service{db: db}}
	m.service.sender, m.faulty = mail.New(cfg.Mail)
	m.service.mails = dispatch.New(db, dispatch.Outside[intent, struct{}]{
		Name: "mail", Call: m.service.send, Settle: m.service.settle,
		Timeout: callTimeout, MaxAttempts: cfg.MaxAttempts, Backoff: cfg.Backoff, Workers: cfg.Workers,
	})
	return m
}

// Name is the module's schema and subscriber.
func (m *Module) Name() string { return "notification" }

// Publishes lists its events.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{notificationapi.Sent{}, notificationapi.Failed{}}
}

// Sends lists the commands that it sends to others: none.
func (m *Module) Sends() []bus.Command { return nil }

// Subscriptions lists what it hears and handles.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.tellCompleted),     // payment.completed
		bus.On(m.tellFailed),        // payment.failed
		bus.On(m.tellRefunded),      // payment.refunded
		bus.On(m.tellShipped),       // delivery.shipped
		bus.On(m.tellDelivered),     // delivery.delivered
		bus.Handle(m.sendRequested), // notification.send
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

// Run sends mails until ctx is done, then finishes those in flight.
func (m *Module) Run(ctx context.Context) error {
	if m.faulty != nil {
		return m.faulty
	}
	return m.service.mails.Run(ctx)
}
