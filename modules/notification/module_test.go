package notification_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/delivery/deliveryapi"
	"millrace/modules/notification"
	"millrace/modules/notification/notificationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
	"millrace/platform/mail"
	"millrace/platform/mail/devinbox"
)

const order = "goods-17"

type bundle struct {
	*bustest.Harness
	inbox *devinbox.Inbox
	db    *bus.DB
}

// setup starts the module with its own mail server. A mail is attempted four
// times, with short pauses.
func setup(t *testing.T, changes ...func(*notification.Config)) bundle {
	t.Helper()
	inbox, err := devinbox.Start(devinbox.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, inbox.Close()) })
	host, port := inbox.HostPort()
	b := bundle{inbox: inbox}
	b.Harness = bustest.Start(t, func(db *bus.DB) bustest.Module {
		b.db = db
		cfg := notification.Config{
			Mail:        mail.Config{Host: host, Port: port, From: "Millrace <no-reply@millrace.example>"},
			MaxAttempts: 4, Backoff: []time.Duration{time.Millisecond},
			LimitWindow: time.Hour, LimitReservations: 100, LimitOrders: 100,
		}
		for _, change := range changes {
			change(&cfg)
		}
		return notification.New(db, cfg)
	})
	return b
}

func (b bundle) contact(email, language string) {
	b.Given("PUT /contacts/1001", fmt.Sprintf(`{"email":%q,"language":%q}`, email, language))
}

func completed() paymentapi.Completed {
	return paymentapi.Completed{PaymentID: "p", OrderKey: order, OrderKind: paymentapi.Goods, UserID: "1001", Amount: 15000, Currency: "KRW"}
}

func card(template, actor string) notificationapi.Send {
	return notificationapi.Send{UserID: "1001", Template: template, Subject: "17", Params: map[string]string{
		notificationapi.ParamConsultationID: "17", notificationapi.ParamActor: actor,
	}}
}

func TestNotification_EachMessageBecomesOneMail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.contact("kim@example.com", "ko")
	for _, c := range []struct {
		message         any
		template, title string
	}{
		{completed(), "payment_completed", "결제가 완료되었습니다 (goods-17)"},
		{paymentapi.Failed{PaymentID: "p", Amount: 15000, OrderKey: order, OrderKind: paymentapi.Goods, UserID: "1001", Currency: "KRW", FailedReason: "declined"}, "payment_failed", "결제에 실패했습니다 (goods-17)"},
		{paymentapi.Refunded{PaymentID: "p", Amount: 15000, OrderKey: order, OrderKind: paymentapi.Goods, UserID: "1001", Currency: "KRW", Reason: "customer asked"}, "payment_refunded", "결제가 환불되었습니다 (goods-17)"},
		{deliveryapi.Shipped{DeliveryID: "d", OrderKey: order, UserID: "1001", Carrier: "ems", TrackingNumber: "EM1"}, "delivery_shipped", "상품이 발송되었습니다 (goods-17)"},
		{deliveryapi.Delivered{DeliveryID: "d", OrderKey: order, UserID: "1001", Carrier: "ems", TrackingNumber: "EM1"}, "delivery_delivered", "상품이 배송 완료되었습니다 (goods-17)"},
		{card(notificationapi.ReservationConfirmed, "HOSPITAL"), "reservation_confirmed", "예약이 확정되었습니다"},
	} {
		b.When(c.message)
		b.Then(notificationapi.Sent{UserID: "1001", Template: c.template})
		b.ThenAgainNothing()
		mails := b.inbox.Messages()
		require.Equal(t, c.title, mails[len(mails)-1].Subject)
		require.Equal(t, []string{"kim@example.com"}, mails[len(mails)-1].To)
	}
	require.Len(t, b.inbox.Messages(), 6)
	b.ThenRow(`SELECT count(*), count(DISTINCT cause_id), bool_and(state = 'sent' AND attempts = 1) FROM notifications`, 6, 6, true)
}

func TestNotification_WaitsForMissingContact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.When(completed(), card(notificationapi.ReservationReceived, "MEMBER"))
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'awaiting_contact'`, 2)
	b.ThenNothing()
	response := b.Given("PUT /contacts/1001", `{"email":"kim@example.com","language":"en"}`)
	require.JSONEq(t, `{"userId":"1001","language":"en","released":2}`, response.Body.String())
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'sent'`, 2)
	require.Len(t, b.inbox.Messages(), 2)
	response = b.Given("PUT /contacts/1001", `{"email":"kim@example.com","language":"en"}`)
	require.Contains(t, response.Body.String(), `"released":0`)
}

// waiting inserts n notifications that wait for a contact.
func (b bundle) waiting(t *testing.T, n int) {
	t.Helper()
	require.NoError(t, b.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := tx.ExecContext(t.Context(), `
			INSERT INTO notifications (id, cause_id, cause_type, user_id, template, subject, params, state)
			SELECT id, gen_random_uuid(), 'payment.completed', '1001', 'payment_completed', 'goods-17', '{}', 'awaiting_contact'
			FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, $1)) AS new`, n)
		return err
	}))
}

func TestSetContact_QueuesWaitingNotificationsInBoundedBatches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.waiting(t, 250)
	response := b.Given("PUT /contacts/1001", `{"email":"kim@example.com","language":"en"}`)
	require.Contains(t, response.Body.String(), `"released":250`)
	b.ThenRow(`SELECT max(n) FROM (SELECT count(*) AS n FROM outbound_calls WHERE payload ? 'notificationId' GROUP BY created_at) AS transactions`, 100)
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state = 'awaiting_contact'`, 0)
}

func TestRun_QueuesNotificationsThatMissedTheirContact(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *notification.Config) { cfg.ReleaseEvery = 10 * time.Millisecond })
	b.contact("kim@example.com", "ko")
	b.waiting(t, 1) // as if a process ended between two transactions of setContact
	b.ThenRow(`SELECT count(*) FROM notifications WHERE state <> 'awaiting_contact'`, 1)
}

func TestMail_HasNotificationIDAndAddressStaysPrivate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.contact("canary@example.com", "en")
	b.When(completed())
	b.Then(notificationapi.Sent{Subject: order})
	var view struct {
		Notifications []struct {
			NotificationID string `json:"notificationId"`
			MessageID      string `json:"messageId"`
			CauseType      string `json:"causeType"`
		} `json:"notifications"`
	}
	body := b.Given("GET /notifications?subject=goods-17", "").Body
	require.NoError(t, json.Unmarshal(body.Bytes(), &view))
	require.Len(t, view.Notifications, 1)
	n := view.Notifications[0]
	require.Equal(t, "payment.completed", n.CauseType)
	require.Equal(t, n.NotificationID+"@millrace.example", n.MessageID)
	require.Equal(t, n.MessageID, b.inbox.Messages()[0].MessageID)
	one := b.Given("GET /notifications/"+n.NotificationID, "").Body.String()
	require.Contains(t, one, `"state":"sent"`)

	require.NotContains(t, one+body.String(), "canary")
	b.ThenRow(`SELECT count(*) FROM log WHERE convert_from(payload, 'UTF8') LIKE '%canary%'`, 0)
	b.ThenRow(`SELECT count(*) FROM outbound_calls WHERE payload::text LIKE '%canary%'`, 0)
}

func TestSend_PermanentRefusalFailsAtOnce(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]devinbox.Fault{"recipient": devinbox.RefuseRecipient, "content": devinbox.RefuseContent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.inbox.Misbehave(func(string) devinbox.Fault { return fault })
			b.contact("kim@example.com", "ko")
			b.When(completed())
			b.Then(notificationapi.Failed{UserID: "1001", Subject: order, Template: "payment_completed"})
			b.ThenRow(`SELECT state, attempts, last_error LIKE 'the mail server refused the `+name+`%' FROM notifications`, "failed", 1, true)
			b.ThenRow(`SELECT count(*) FROM log WHERE convert_from(payload, 'UTF8') LIKE '%kim%'`, 0)
		})
	}
}

func TestSend_FailedMailIsSentWhenItsCallIsRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.inbox.Misbehave(func(string) devinbox.Fault { return devinbox.RefuseRecipient })
	b.contact("kim@example.com", "ko")
	b.When(completed())
	b.Then(notificationapi.Failed{Subject: order})
	b.inbox.Misbehave(func(string) devinbox.Fault { return devinbox.None })
	require.NoError(t, b.db.InTx(t.Context(), func(tx *bus.Tx) error { // as outbound.Retry does
		_, err := tx.ExecContext(t.Context(), `UPDATE outbound_calls SET state = 'pending', attempts = 0, next_at = now(), completed_at = NULL WHERE state = 'failed'`)
		return err
	}))
	b.Then(notificationapi.Sent{Subject: order})
	b.ThenRow(`SELECT state, last_error, sent_at IS NOT NULL FROM notifications`, "sent", "", true)
	require.Len(t, b.inbox.Messages(), 1)
}

func TestSend_TemporaryRefusalIsRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	asked := make(chan string, 4)
	b.inbox.Misbehave(func(to string) devinbox.Fault {
		asked <- to
		if len(asked) < 3 {
			return devinbox.PutOff
		}
		return devinbox.None
	})
	b.contact("kim@example.com", "ko")
	b.When(completed())
	b.Then(notificationapi.Sent{Subject: order})
	b.ThenRow(`SELECT state, attempts FROM notifications`, "sent", 3)
	require.Len(t, b.inbox.Messages(), 1)
}

func TestSend_FailsAfterMaxAttempts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.inbox.Misbehave(func(string) devinbox.Fault { return devinbox.PutOff })
	b.contact("kim@example.com", "ko")
	b.When(completed())
	b.Then(notificationapi.Failed{Subject: order})
	b.ThenRow(`SELECT state, attempts FROM notifications`, "failed", 4)
	require.Empty(t, b.inbox.Messages())
}

func TestSend_LostAcceptanceIsRetriedWithSameMessageID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	broken := make(chan struct{}, 1)
	b.inbox.Misbehave(func(string) devinbox.Fault {
		select {
		case broken <- struct{}{}:
			return devinbox.BreakAccepted
		default:
			return devinbox.None
		}
	})
	b.contact("kim@example.com", "ko")
	b.When(completed())
	b.Then(notificationapi.Sent{Subject: order})
	mails := b.inbox.Messages()
	require.Len(t, mails, 2)
	require.Equal(t, mails[0].MessageID, mails[1].MessageID)
	b.ThenRow(`SELECT count(*), max(attempts) FROM notifications`, 1, 2)
}

func TestSetContact_CorrectedAddressAppliesToQueuedMails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	refused := make(chan struct{}, 4)
	b.inbox.Misbehave(func(to string) devinbox.Fault {
		if strings.HasPrefix(to, "old") {
			refused <- struct{}{}
			return devinbox.Hang
		}
		return devinbox.None
	})
	b.contact("old@example.com", "ko")
	b.When(completed())
	<-refused
	b.contact("new@example.com", "en")
	b.inbox.Misbehave(nil) // the old mailbox now answers "busy"
	b.Then(notificationapi.Sent{Subject: order})
	mails := b.inbox.Messages()
	require.Equal(t, []string{"new@example.com"}, mails[len(mails)-1].To)
	require.Equal(t, "Your payment is complete (goods-17)", mails[len(mails)-1].Subject)
}

func TestSend_InvalidCommandBecomesDeadLetter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.contact("kim@example.com", "ko")
	unknown := card("reservation_forgotten", "MEMBER")
	automatic := card("payment_completed", "MEMBER") // on events only, not on request
	automatic.Subject = "18"
	incomplete := card(notificationapi.ReservationReceived, "MEMBER")
	incomplete.Subject, incomplete.Params = "19", nil
	b.When(unknown, automatic, incomplete)
	b.ThenNothing()
	require.Len(t, b.DeadLetters(), 3)
	b.ThenRow(`SELECT count(*) FROM notifications`, 0)
}

func TestNotification_InvalidMessageBecomesDeadLetter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.contact("kim@example.com", "ko")
	failed := paymentapi.Failed{PaymentID: "p", OrderKey: "goods-2", OrderKind: paymentapi.Goods, UserID: "1001", Currency: "KRW", FailedReason: "declined"}
	back := paymentapi.Refunded{PaymentID: "p", OrderKey: "goods-3", OrderKind: paymentapi.Goods, UserID: "1001", Amount: 15000, Currency: "ABC"}
	negative := completed()
	negative.OrderKey, negative.Amount = "goods-1", -5
	for i, row := range []struct {
		message any
		field   string
	}{
		{negative, "amount: -5 "},
		{failed, "amount: 0 "},
		{back, "currency: "},
		{deliveryapi.Shipped{DeliveryID: "d", OrderKey: "goods-4", UserID: "1001", TrackingNumber: "EM1"}, "carrier: "},
		{deliveryapi.Delivered{OrderKey: "goods-5", UserID: "1001", Carrier: "ems", TrackingNumber: "EM1"}, "deliveryId: "},
		{deliveryapi.Delivered{DeliveryID: "d", OrderKey: "goods-6", Carrier: "ems"}, "userId: "},
		{notificationapi.Send{Subject: "18", Template: notificationapi.ReservationReceived}, "userId: "},
		{notificationapi.Send{Subject: strings.Repeat("7", 65), UserID: "1001", Template: notificationapi.ReservationReceived}, "subject: "},
	} {
		b.When(row.message)
		dead := b.DeadLetters()
		require.Len(t, dead, i+1, row.field)
		require.Contains(t, dead[i], row.field)
	}
	b.ThenNothing()
	require.Empty(t, b.inbox.Messages())
	b.ThenRow(`SELECT count(*) FROM notifications`, 0)
}

func TestSetContact_IfMatchChecksVersion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const put, kim, lee = "PUT /contacts/1001", `{"email":"kim@example.com","language":"ko"}`, `{"email":"lee@example.com","language":"ko"}`
	require.Equal(t, 412, b.Do(put, kim, "If-Match: *").Code, "there is no contact yet")
	require.Equal(t, `"1"`, b.Do(put, kim).Header().Get("ETag"))
	require.Equal(t, `"1"`, b.Do(put, kim, "If-Match: *").Header().Get("ETag"), "the same contact")
	require.Equal(t, `"2"`, b.Do(put, lee, `If-Match: "1"`).Header().Get("ETag"))
	stale := b.Do(put, kim, `If-Match: "1"`)
	require.Equal(t, 412, stale.Code)
	require.Contains(t, stale.Body.String(), `"current":{"version":2}`)
	require.NotContains(t, stale.Body.String(), "lee")
	require.Equal(t, 400, b.Do(put, kim, "If-Match: 2").Code)
	require.Equal(t, 422, b.Do(put, `{"email":"kim","language":"ko"}`, `If-Match: "1"`).Code)
	b.ThenRow(`SELECT email, version FROM contacts`, "lee@example.com", 2)

	codes := make(chan int, 8)
	for i := range cap(codes) {
		go func() {
			codes <- b.Do(put, fmt.Sprintf(`{"email":"kim%d@example.com","language":"ko"}`, i), `If-Match: "2"`).Code
		}()
	}
	count := map[int]int{}
	for range cap(codes) {
		count[<-codes]++
	}
	require.Equal(t, map[int]int{200: 1, 412: 7}, count, "of concurrent changes, only one saw the current version")
}

func TestSetContact_ErrorNamesInvalidField(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for body, field := range map[string]string{
		`{"email":"kim","language":"ko"}`:             "body.email",
		`{"language":"ko"}`:                           "body.email",
		`{"email":"kim@example.com","language":"fr"}`: "body.language",
	} {
		response := b.Do("PUT /contacts/1001", body)
		require.Equal(t, http.StatusUnprocessableEntity, response.Code, body)
		require.Contains(t, response.Body.String(), `"`+field+`"`, body)
	}
	require.Equal(t, http.StatusNotFound, b.Do("GET /notifications/01930e5c-0a00-7000-8000-000000000021", "").Code)
	require.Equal(t, http.StatusUnprocessableEntity, b.Do("GET /notifications/x", "").Code)
	require.Equal(t, http.StatusUnprocessableEntity, b.Do("GET /notifications", "").Code)
	require.Contains(t, b.Given("GET /notifications?subject=goods-99", "").Body.String(), `"notifications":[]`)
}

func TestRun_FailsWithoutMailServerConfiguration(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, notification.New(nil, notification.Config{}).Run(t.Context()), "host: name the SMTP server")
}

func TestSetContact_RejectsInvalidUserIDs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const body = `{"email":"kim@example.com","language":"ko"}`
	for _, id := range []string{"%2e", "%2e%2e", ".%2E", "kim.", ".kim", "a%2Fb", "a%20b", "01012345678", "010-1234-5678", "kim@example.com", "kim%00", "%ff"} {
		response := b.Do("PUT /contacts/"+id, body)
		require.Equal(t, http.StatusUnprocessableEntity, response.Code, id)
		require.Contains(t, response.Body.String(), `"path.userId"`, id)
	}
	for _, id := range []string{"42", "1000123", "a..b", "kim_minjun-1.2"} {
		require.Equal(t, http.StatusOK, b.Do("PUT /contacts/"+id, body).Code, id)
	}
	b.ThenRow(`SELECT count(*) FROM contacts`, 4)
}

// Older orders were paid under user IDs that new ones may not have; their mails
// wait for a contact and do not become dead letters.
func TestNotification_AcceptsUserIDsOfOlderOrders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := completed()
	e.UserID = "010-1234-5678"
	b.When(e)
	b.ThenNothing()
	require.Empty(t, b.DeadLetters())
	b.ThenRow(`SELECT state FROM notifications`, "awaiting_contact")
}
