package notification_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/notification"
	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
	"millrace/platform/mail"
	"millrace/platform/mail/devinbox"
)

// limited starts the module with a window that ends only when the test calls
// windowsEnd.
func limited(t *testing.T, reservations, orders int) (bundle, notification.Config) {
	t.Helper()
	inbox, err := devinbox.Start(devinbox.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, inbox.Close()) })
	host, port := inbox.HostPort()
	cfg := notification.Config{
		Mail:        mail.Config{Host: host, Port: port, From: "Millrace <no-reply@millrace.example>"},
		LimitWindow: 24 * time.Hour, LimitReservations: reservations, LimitOrders: orders, MaxAttempts: 4, Backoff: []time.Duration{time.Millisecond},
	}
	b := bundle{inbox: inbox}
	b.Harness = bustest.Start(t, func(db *bus.DB) bustest.Module {
		b.db = db
		return notification.New(db, cfg)
	})
	return b, cfg
}

// do runs a statement on the module's tables.
func (b bundle) do(t *testing.T, statement string) {
	t.Helper()
	require.NoError(t, b.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := tx.ExecContext(t.Context(), statement)
		return err
	}))
}

// windowsEnd ends each recipient's window now: its digest is due, and the next
// mail starts a new window.
func (b bundle) windowsEnd(t *testing.T) {
	t.Helper()
	require.NoError(t, b.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE recipients SET began_at = began_at - interval '25 hours', digest_at = digest_at - interval '25 hours'`)
		if err == nil {
			_, err = tx.ExecContext(t.Context(), `UPDATE outbound_calls SET next_at = now() WHERE state = 'pending'`)
		}
		return err
	}))
}

// moves returns the commands that a consultation with n changes sends; the last
// is a cancellation.
func moves(n int) (all []any) {
	for i := range n - 1 {
		all = append(all, card([]string{notificationapi.ReservationConfirmed, notificationapi.ReservationChanged}[i%2], "HOSPITAL"))
	}
	return append(all, card(notificationapi.ReservationCancelled, "MEMBER"))
}

func TestLimit_ManyChangesOfAConsultationBecomeAFewMailsAndOneDigest(t *testing.T) {
	t.Parallel()
	const many, most = 300, 10
	b, cfg := limited(t, most, 0)
	other, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- notification.New(b.db, cfg).Run(other) }() // a second process
	t.Cleanup(func() { stop(); require.NoError(t, <-ended) })
	b.contact("kim@example.com", "en")
	b.When(moves(many)...)
	const states = `SELECT count(*) FILTER (WHERE state = 'sent' AND digest_id IS NULL),
		count(*) FILTER (WHERE state = 'collected'), count(DISTINCT digest_id) FROM notifications`
	b.ThenRow(states, most, many-most, 1)
	b.ThenRow(`SELECT count(*), count(*) FILTER (WHERE next_at > now() + interval '23 hours') FROM outbound_calls WHERE state = 'pending'`, 1, 1)
	require.Len(t, b.inbox.Messages(), most)
	require.Contains(t, b.Given("GET /notifications?subject=17", "").Body.String(), `"state":"collected"`)

	b.windowsEnd(t)
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'sent'`, many)
	require.Len(t, b.inbox.Messages(), most+1)
	require.Contains(t, b.inbox.Messages()[most].Subject, "290 updates on your reservations")
	b.ThenRow(`SELECT count(*), count(DISTINCT convert_from(payload, 'UTF8')::json->>'notificationId') FROM log WHERE type = 'notification.sent'`, many, many)
	b.ThenRow(`SELECT count(*) FROM collected`, 0)
	b.ThenRow(`SELECT count(*), count(DISTINCT digest_id) FROM notifications WHERE digest_id IS NOT NULL`, many-most, 1)

	b.When(card(notificationapi.ReservationConfirmed, "HOSPITAL")) // in the next window
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'sent'`, many+1)
	require.Len(t, b.inbox.Messages(), most+2)
}

func TestLimit_CountsPerMailboxAcrossUsers(t *testing.T) {
	t.Parallel()
	b, _ := limited(t, 3, 4)
	for i, email := range []string{"kim@example.com", "Kim@EXAMPLE.com", "kim+a@example.com", "kim+b@example.com", "kim.k@example.com"} {
		user := fmt.Sprint(2001 + i)
		b.Given("PUT /contacts/"+user, fmt.Sprintf(`{"email":%q,"language":"ko"}`, email))
		for range 2 {
			c := card(notificationapi.ReservationChanged, "HOSPITAL")
			c.UserID = user
			b.When(c)
		}
		paid := completed()
		paid.UserID, paid.OrderKey = user, "goods-"+user
		b.When(paid)
	}
	b.ThenRow(`SELECT count(*) FILTER (WHERE state = 'sent'), count(*) FILTER (WHERE state = 'collected'), count(DISTINCT recipient) FROM notifications WHERE template = 'reservation_changed'`, 5, 5, 2)
	b.ThenRow(`SELECT count(*) FROM notifications WHERE template = 'payment_completed' AND state = 'sent'`, 5)
	b.ThenRow(`SELECT count(*) FROM notifications WHERE recipient LIKE '%@%'`, 0)
}

func TestLimit_ReceiptsAreCountedSeparatelyAndDigestListsAmounts(t *testing.T) {
	t.Parallel()
	b, _ := limited(t, 1, 2)
	b.contact("kim@example.com", "ko")
	for i := range 30 {
		c := completed()
		c.OrderKey, c.Amount = "goods-30", int64(15000+i)
		b.When(c)
	}
	b.ThenRow(`SELECT count(*) FILTER (WHERE state = 'sent'), count(*) FILTER (WHERE state = 'collected') FROM notifications`, 2, 28)
	b.windowsEnd(t)
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'sent'`, 30)
	require.Len(t, b.inbox.Messages(), 3)
	require.Equal(t, "주문 알림 28건을 모아 보내 드립니다", b.inbox.Messages()[2].Subject)
}

func TestLimit_CollectedMailFollowsCorrectedAddress(t *testing.T) {
	t.Parallel()
	b, _ := limited(t, 2, 0)
	b.contact("kin@example.com", "ko")
	b.When(moves(10)...)
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'collected'`, 8)
	b.contact("kim@example.com", "ko")
	b.windowsEnd(t)
	b.ThenRow(`SELECT count(*) FILTER (WHERE state = 'sent'), count(*) FILTER (WHERE state = 'collected') FROM notifications`, 4, 6)
	b.windowsEnd(t)
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'sent'`, 10)
	got := map[string]int{}
	for _, m := range b.inbox.Messages() {
		got[m.To[0]]++
	}
	require.Equal(t, map[string]int{"kin@example.com": 2, "kim@example.com": 3}, got)
	b.ThenRow(`SELECT count(*) FROM log WHERE type = 'notification.sent'`, 10)
}

func TestLimit_RepeatedCallIsNotCountedOrSentAgain(t *testing.T) {
	t.Parallel()
	b, _ := limited(t, 2, 0)
	b.contact("kim@example.com", "ko")
	b.When(moves(4)...)
	b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE state = 'succeeded'`, 4)
	for _, collected := range []bool{true, false} { // as if the process died before it recorded the result
		if !collected {
			b.windowsEnd(t)
			b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'sent'`, 4)
		}
		b.do(t, `UPDATE outbound_calls SET state = 'pending', attempts = 0, next_at = now(), completed_at = NULL WHERE state = 'succeeded'`)
		b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE state <> 'succeeded' AND payload ? 'notificationId'`, 0)
	}
	b.ThenRow(`SELECT count(*) FILTER (WHERE state = 'sent') FROM notifications`, 4)
	b.ThenRow(`SELECT count(*) FROM log WHERE type LIKE 'notification.%'`, 4)
	b.ThenRow(`SELECT count(*) FROM log WHERE type = 'notification.sent'`, 4)
	require.Len(t, b.inbox.Messages(), 3)
}

func TestLimit_RefusedDigestFailsItsNotificationsAndCanBeRetried(t *testing.T) {
	t.Parallel()
	b, _ := limited(t, 1, 0)
	b.contact("kim@example.com", "ko")
	b.When(moves(5)...)
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'collected'`, 4)
	b.inbox.Misbehave(func(string) devinbox.Fault { return devinbox.RefuseRecipient })
	b.windowsEnd(t)
	b.ThenRow(`SELECT count(*), min(last_error) LIKE 'the mail server refused the recipient%' FROM notifications WHERE state = 'failed'`, 4, true)
	b.ThenRow(`SELECT count(*) FROM log WHERE type = 'notification.failed'`, 4)
	b.inbox.Misbehave(func(string) devinbox.Fault { return devinbox.None })
	b.do(t, `UPDATE outbound_calls SET state = 'pending', attempts = 0, next_at = now(), completed_at = NULL WHERE state = 'failed'`) // as outbound.Retry does
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'sent'`, 5)
	require.Len(t, b.inbox.Messages(), 2)
}

func TestLimit_BoundsDigestSize(t *testing.T) {
	t.Parallel()
	b, _ := limited(t, 1, 0)
	b.contact("kim@example.com", "ko")
	b.When(moves(3)...)
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'collected'`, 2)
	b.do(t, `UPDATE recipients SET collected = 500`) // as after 498 more
	b.When(moves(2)...)
	b.ThenRow(`SELECT count(*) FILTER (WHERE state = 'collected'), count(DISTINCT digest_id) FROM notifications`, 4, 2)
	b.ThenRow(`SELECT count(*), count(*) FILTER (WHERE next_at > now() + interval '47 hours') FROM outbound_calls WHERE state = 'pending'`, 2, 1)
}
