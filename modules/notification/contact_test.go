package notification_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/notification/notificationapi"
	"millrace/platform/bus"
)

func TestSetContact_AcceptsOnlyDeliverableAddresses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for email, why := range map[string]string{
		"a..b@docomo.ne.jp": "two dots in a row", ".kim@x.com": "starts with a dot", "kim.@x.com": "a dot before the at sign",
		"Kim <kim@x.com>": "a name or brackets", "mailto:kim@x.com": "mailto", "kim＠x.com": "full-width", "kim@localhost": "no dot after", "김철수@example.com": "letters other than a-z",
		"kim@x.com\\r\\nBcc: lee@x.com": "", "kim@x.com,lee@x.com": "more than one",
	} {
		response := b.Do("PUT /contacts/1001", `{"email":"`+strings.ReplaceAll(email, `\\`, `\`)+`","language":"ko"}`)
		require.Equal(t, http.StatusUnprocessableEntity, response.Code, email)
		require.Contains(t, response.Body.String(), `"body.email"`, email)
		require.Contains(t, response.Body.String(), why, email)
	}
	b.ThenRow(`SELECT count(*) FROM contacts`, 0)
	for email, to := range map[string]string{
		" Kim.Lee@BÜCHER.example ": "Kim.Lee@xn--bcher-kva.example", "o'brien+shop@example.ie": "o'brien+shop@example.ie",
	} {
		b.contact(email, "ko")
		c := completed()
		c.OrderKey = "goods-" + strconv.Itoa(len(to))
		b.When(c)
		b.Then(notificationapi.Sent{Subject: c.OrderKey})
		mails := b.inbox.Messages()
		require.Equal(t, []string{to}, mails[len(mails)-1].To)
	}
}

func TestSend_RejectsInvalidAddressStoredByEarlierVersion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.contact("kim@example.com", "ko")
	require.NoError(t, b.db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE contacts SET email = 'a..b@docomo.ne.jp'`)
		return err
	}))
	b.When(completed())
	b.Then(notificationapi.Failed{Subject: order, Reason: "the recipient's address has two dots in a row before the at sign, which servers refuse: give another address"})
	b.ThenRow(`SELECT state, attempts FROM notifications`, "failed", 1)
}
