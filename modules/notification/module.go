// Package notification sends e-mails to users about their orders and
// reservations.
//
// # Guarantees
//
//   - Each event that the module subscribes to, and each notification.send,
//     creates exactly one notification. The inbox and a unique constraint on
//     the message ID ensure it.
//   - A notification for a user without a contact waits in awaiting_contact;
//     setting the contact queues it. Both may happen at the same moment.
//   - A notification becomes sent when the mail server accepted the mail, and
//     failed when the server refused it permanently or Config.MaxAttempts
//     attempts failed. notification.sent or notification.failed is published
//     once, in the transaction that records the state.
//   - While the mail server is unreachable, or rejects or rate-limits our
//     account, all mails are delayed: no attempts are used, one mail at a time
//     is tried as a probe, and sending resumes when a probe succeeds. A refusal
//     of one recipient affects that mail only. Package mail has the table of
//     replies.
//   - The address and the language are read when the mail is rendered, so a
//     corrected contact applies to mails that are still queued.
//   - One mailbox gets a limited number of mails in a window
//     (Config.LimitWindow), across all processes. The first mails are sent at
//     once; further ones are collected and sent as one digest when the window
//     ends. Each notification still has its own row and event; digestId names
//     its digest.
//   - A notification.send with an unknown template, or without a parameter that
//     the template requires, becomes a dead letter at once.
//
// # At least once
//
// A mail may arrive twice. If the process dies after the mail server accepted a
// mail and before that was recorded, the mail is sent again with the same
// Message-ID (<notification ID>@<sender's domain>), which lets a mailbox drop
// the copy.
//
// # Not guaranteed
//
//   - That a mail was read, or reached the mailbox: only that the server
//     accepted it.
//   - Order: two mails about one order may arrive in either order.
//
// Amounts are written with the decimals of their currency (KRW has none). The
// texts are in Korean and English, one file each in templates. E-mail addresses
// leave this module only as the recipient of a mail.
package notification

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"io/fs"
	"time"

	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
	"millrace/platform/mail"
	"millrace/platform/module"
	"millrace/platform/outbound"
	"millrace/platform/telemetry"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config configures the module. The defaults of Mail and of the limits are in
// package config.
type Config struct {
	Mail        mail.Config   // the mail server
	Workers     int           // mails in flight in this process; 0 means 8
	MaxAttempts int           // attempts before a notification fails; 0 means 200, about an hour
	DelayFirst  time.Duration // pause before the first probe while all mails are delayed; it doubles each time; 0 means 1 s
	// ReleaseEvery is the interval of the search for notifications that still
	// wait although their user has a contact; 0 means 1 min.
	ReleaseEvery time.Duration
	Backoff      []time.Duration // before attempt 2, 3, …; the last one repeats; nil means 200 ms … 20 s

	// Limits on mails to one mailbox per window; see limits.
	LimitWindow       time.Duration
	LimitReservations int // about reservations
	LimitOrders       int // about payments and deliveries
}

const (
	defaultAttempts = 200
	callTimeout     = 8 * time.Second // of one attempt, unless Config.Mail sets a shorter one
)

// defaultBackoff ends at 20 s, so that mails are sent soon after a server is
// back.
var defaultBackoff = []time.Duration{
	200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second,
}

// Module is the notification module.
type Module struct {
	module.Base
	service      *service
	releaseEvery time.Duration
	faulty       error // the error in the mail server's configuration, if any
}

// New creates the module. db is nil where the module is only declared and not
// hosted. An error in the mail server's configuration is returned by Run.
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
	m := &Module{releaseEvery: cmp.Or(cfg.ReleaseEvery, time.Minute), service: &service{db: db, limits: limits{
		window: cfg.LimitWindow, reservations: cfg.LimitReservations, orders: cfg.LimitOrders,
	}}}
	m.service.sender, m.faulty = mail.New(cfg.Mail)
	m.service.mails = outbound.New(db, outbound.Config[mailCall, result]{
		Name: "mail", Do: m.service.send, OnComplete: m.service.complete, OnWait: m.service.waits, DelayFirst: cfg.DelayFirst,
		Timeout: callTimeout, MaxAttempts: cfg.MaxAttempts, Backoff: cfg.Backoff, Workers: cfg.Workers,
	})
	return m
}

// Name returns the name of the module's schema and subscriber.
func (m *Module) Name() string { return "notification" }

// Publishes lists the events that the module publishes.
func (m *Module) Publishes() []bus.Event {
	return []bus.Event{notificationapi.Sent{}, notificationapi.Failed{}}
}

// Subscriptions lists the events and the command that the module handles.
func (m *Module) Subscriptions() []bus.Subscription {
	return []bus.Subscription{
		bus.On(m.onPaymentCompleted),  // payment.completed
		bus.On(m.onPaymentFailed),     // payment.failed
		bus.On(m.onPaymentRefunded),   // payment.refunded
		bus.On(m.onDeliveryShipped),   // delivery.shipped
		bus.On(m.onDeliveryDelivered), // delivery.delivered
		bus.Handle(m.sendRequested),   // notification.send
	}
}

// Migrations returns the module's migrations.
func (m *Module) Migrations() fs.FS { return module.Migrations(migrations) }

// Run sends mails until ctx is done, then waits for the mails in flight.
func (m *Module) Run(ctx context.Context) error {
	if m.faulty != nil {
		return m.faulty
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.service.releasePeriodically(ctx, m.releaseEvery)
	}()
	err := m.service.mails.Run(ctx)
	<-ended
	return err
}

// Checks reports whether mails are being sent.
func (m *Module) Checks() []telemetry.Check {
	return []telemetry.Check{{
		Name: "mail", Help: "mails wait and none is lost: detail names the cause and what to do; see also millrace deadletters",
		Probe: func(context.Context) error { return m.service.mails.Delayed() }, DegradesOnly: true,
	}}
}

// Metrics lists the metrics for alerts on delayed mail.
func (m *Module) Metrics() []telemetry.Metric {
	return []telemetry.Metric{{
		Name: "millrace_mail_delayed_seconds", Help: "How long the mail server has refused all mails, or been away; 0 if mails are sent.",
		Value: func(context.Context) (float64, error) {
			var delayed *outbound.Delayed
			if !errors.As(m.service.mails.Delayed(), &delayed) {
				return 0, nil
			}
			return time.Since(delayed.Since()).Seconds(), nil
		},
	}}
}
