package notification_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/notification"
	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
	"millrace/platform/errs"
	"millrace/platform/mail"
	"millrace/platform/mail/devinbox"
)

// delaying starts the module with a mail server at host:port and short pauses
// between probes.
func delaying(t *testing.T, host string, port int) (*bustest.Harness, *notification.Module) {
	t.Helper()
	var m *notification.Module
	h := bustest.Start(t, func(db *bus.DB) bustest.Module {
		m = notification.New(db, notification.Config{
			Mail:        mail.Config{Host: host, Port: port, From: "Millrace <no-reply@millrace.example>"},
			MaxAttempts: 2, Backoff: []time.Duration{time.Millisecond}, DelayFirst: time.Millisecond,
			LimitWindow: time.Hour, LimitReservations: 100, LimitOrders: 100,
		})
		return m
	})
	return h, m
}

func TestDelay_RejectedAccountDelaysAllMailsAndFailsCheck(t *testing.T) {
	t.Parallel()
	inbox, err := devinbox.Start(devinbox.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, inbox.Close()) })
	refused := make(chan struct{}, 1000)
	inbox.Misbehave(func(string) devinbox.Fault {
		select {
		case refused <- struct{}{}:
		default:
		}
		return devinbox.RefuseAccount
	})
	host, port := inbox.HostPort()
	h, m := delaying(t, host, port)
	h.Given("PUT /contacts/1001", `{"email":"kim@example.com","language":"ko"}`)
	for i := range 5 {
		c := completed()
		c.OrderKey = fmt.Sprintf("goods-%d", i)
		h.When(c)
	}
	for range 12 { // more than the attempts of all mails together
		<-refused
	}
	check := m.Checks()[0]
	require.True(t, check.DegradesOnly)
	err = check.Probe(t.Context())
	var public interface{ Public() string }
	require.ErrorAs(t, err, &public)
	require.Equal(t, "the mail server refused the recipient (550 5.4.5); the provider limits what this account may send: raise the limit, or wait; mails go on by themselves", public.Public())
	require.Equal(t, errs.Resource, errs.KindOf(err))
	seconds, err := m.Metrics()[0].Value(t.Context())
	require.NoError(t, err)
	require.Positive(t, seconds)
	require.Contains(t, h.Given("GET /notifications?subject=goods-1", "").Body.String(), "550 5.4.5")
	h.ThenRow(`SELECT count(*) FROM notifications WHERE state IN ('queued', 'sending') AND attempts <= 1`, 5)

	inbox.Misbehave(nil)
	h.ThenRow(`SELECT count(*), max(attempts) FROM notifications WHERE state = 'sent'`, 5, 1)
	require.NoError(t, check.Probe(t.Context()))
	require.Len(t, inbox.Messages(), 5)
}

func TestDelay_UnreachableServerLeavesNoNotificationInSending(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address, ok := listener.Addr().(*net.TCPAddr)
	require.True(t, ok)
	hungUp := make(chan struct{}, 1000)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test ended
			}
			_ = conn.Close()
			select {
			case hungUp <- struct{}{}:
			default:
			}
		}
	}()
	h, m := delaying(t, "127.0.0.1", address.Port)
	h.Given("PUT /contacts/1001", `{"email":"kim@example.com","language":"ko"}`)
	h.When(completed())
	for range 5 {
		<-hungUp
	}
	require.Error(t, m.Checks()[0].Probe(t.Context()))
	h.ThenRow(`SELECT state, attempts FROM notifications`, "queued", 0)
}

func TestDelay_RefusedRecipientDelaysNoOtherMail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.inbox.Misbehave(func(to string) devinbox.Fault {
		if to == "gone@example.com" {
			return devinbox.RefuseRecipient
		}
		return devinbox.None
	})
	b.contact("gone@example.com", "ko")
	b.When(completed())
	b.Then(notificationapi.Failed{Subject: order, Reason: "the mail server refused the recipient (550 5.1.1)"})
	b.contact("kim@example.com", "ko")
	c := completed()
	c.OrderKey = "goods-18"
	b.When(c)
	b.Then(notificationapi.Sent{Subject: "goods-18"})
}
