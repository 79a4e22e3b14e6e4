package notification

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/modules/notification/notificationapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/errs"
)

// example returns a notification with all parameters of its template.
func example(template string) notification {
	values := map[string]string{
		paramOrderKind: string(paymentapi.Goods), paramAmount: "15000", paramCurrency: "KRW", paramReason: "insufficient_funds",
		paramCarrier: "cj-logistics", paramTrackingNumber: "CJ000000000017",
		notificationapi.ParamConsultationID: "17", notificationapi.ParamActor: "HOSPITAL",
	}
	n := notification{UserID: "1001", Template: template, Subject: "goods-17", Params: map[string]string{}}
	for _, name := range templates[template] {
		n.Params[name] = values[name]
	}
	return n
}

func TestRender_EveryTemplateExistsInBothLanguages(t *testing.T) {
	t.Parallel()
	for _, template := range slices.Sorted(maps.Keys(templates)) {
		n := example(template)
		require.NoError(t, n.check())
		seen := map[string]bool{}
		for _, lang := range []language{korean, english} {
			r, err := render(n, lang)
			require.NoError(t, err, "%s in %s", template, lang)
			require.NotEmpty(t, r.Title)
			require.NotContains(t, r.Text, "<no value>")
			require.Contains(t, r.HTML, `<html lang="`+string(lang)+`">`)
			require.Contains(t, r.HTML, r.Title)
			for line := range strings.Lines(r.Text) {
				require.Contains(t, r.HTML, strings.TrimSpace(line))
			}
			require.Equal(t, lang == korean, strings.ContainsFunc(r.Text, hangul), "%s in %s", template, lang)
			seen[r.Text] = true
		}
		require.Len(t, seen, 2)
	}
}

func hangul(r rune) bool { return r >= '가' && r <= '힣' }

func TestRender_ContainsFactsOfTheEvent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		template string
		lang     language
		facts    []string
	}{
		{paymentCompleted, korean, []string{"15,000원", "goods-17"}},
		{paymentCompleted, english, []string{"₩15,000", "goods-17"}},
		{paymentFailed, korean, []string{"잔액 부족"}},
		{paymentFailed, english, []string{"insufficient funds"}},
		{deliveryShipped, korean, []string{"CJ대한통운", "CJ000000000017"}},
		{deliveryShipped, english, []string{"CJ Logistics", "CJ000000000017"}},
		{notificationapi.ReservationConfirmed, korean, []string{"예약이 확정되었습니다", "병원"}},
		{notificationapi.ReservationConfirmed, english, []string{"is confirmed", "the hospital"}},
	} {
		r, err := render(example(c.template), c.lang)
		require.NoError(t, err)
		for _, fact := range c.facts {
			require.Contains(t, r.Title+"\n"+r.Text, fact)
		}
	}
	deposit := example(paymentCompleted)
	deposit.Params[paramOrderKind] = string(paymentapi.Deposit)
	r, err := render(deposit, korean)
	require.NoError(t, err)
	require.Contains(t, r.Title, "예약금")
}

func TestRender_EscapesParametersInHTML(t *testing.T) {
	t.Parallel()
	n := example(paymentRefunded)
	n.Params[paramReason] = `<script>alert(1)</script>`
	n.Subject = "goods-1\r\nBcc: everybody@example.com"
	r, err := render(n, english)
	require.NoError(t, err)
	require.NotContains(t, r.HTML, "<script")
	require.NotContains(t, r.Title, "\n")
	require.NotContains(t, r.Title, "\r")
}

func TestMoney_UsesDecimalsOfTheCurrency(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amount, currency, ko, en string
	}{
		{"15000", "KRW", "15,000원", "₩15,000"},
		{"0", "KRW", "0원", "₩0"},
		{"999", "KRW", "999원", "₩999"},
		{"1234567890", "JPY", "JPY 1,234,567,890", "JPY 1,234,567,890"},
		{"1500", "USD", "$15.00", "$15.00"},
		{"5", "USD", "$0.05", "$0.05"},
		{"123456789", "EUR", "€1,234,567.89", "€1,234,567.89"},
		{"1234567", "KWD", "KWD 1,234.567", "KWD 1,234.567"},
		{"-150", "USD", "-$1.50", "-$1.50"},
	} {
		ko, err := money(korean, c.amount, c.currency)
		require.NoError(t, err)
		require.Equal(t, c.ko, ko)
		en, err := money(english, c.amount, c.currency)
		require.NoError(t, err)
		require.Equal(t, c.en, en)
	}
	_, err := money(korean, "15,000", "KRW")
	require.Equal(t, errs.Invalid, errs.KindOf(err))
}

func TestNotificationCheck_ErrorNamesInvalidField(t *testing.T) {
	t.Parallel()
	confirmed := notificationapi.ReservationConfirmed
	for field, spoil := range map[string]func(*notification){
		"userId":                func(n *notification) { n.UserID = "" },
		"template":              func(n *notification) { n.Template = "reservation_forgotten" },
		"params.consultationId": func(n *notification) { delete(n.Params, notificationapi.ParamConsultationID) },
		"params.actor":          func(n *notification) { n.Params[notificationapi.ParamActor] = "ems" },
		"params":                func(n *notification) { n.Params["memo"] = strings.Repeat("가", 301) },
	} {
		n := example(confirmed)
		spoil(&n)
		err := n.check()
		require.Equal(t, errs.Invalid, errs.KindOf(err), field)
		require.Equal(t, field, errs.FieldOf(err))
	}
	for _, template := range onRequest {
		require.Contains(t, templates, template)
	}
}

func TestContactValidate_NamesEveryInvalidFieldWithoutTheAddress(t *testing.T) {
	t.Parallel()
	require.NoError(t, contact{UserID: "1001", Email: "kim+a@mail.example.co.kr", Language: korean}.validate())
	for _, email := range []string{
		"", "kim", "kim@", "@example.com", "kim@example.com\r\nBcc: x@example.com", "Kim <kim@example.com>",
		"kim@@example.com", "kim@-example.com", "김@example.com", strings.Repeat("k", 250) + "@example.com",
	} {
		err := contact{UserID: "1001", Email: email, Language: korean}.validate()
		require.Equal(t, "email", errs.FieldOf(err), email)
		require.NotContains(t, err.Error(), "@")
	}
	err := contact{UserID: "a b", Language: "fr"}.validate()
	for _, field := range []string{"userId", "email", "language"} {
		require.ErrorContains(t, err, field+": ")
	}
}

func TestRender_UnrequestedRefundsShowAReason(t *testing.T) {
	t.Parallel()
	for _, lang := range []language{korean, english} {
		for _, reason := range []string{"duplicate_charge", "provider_canceled"} {
			r, err := render(notification{Template: paymentRefunded, Subject: "goods-17", Params: map[string]string{
				paramOrderKind: "goods", paramAmount: "15000", paramCurrency: "KRW", paramReason: reason}}, lang)
			require.NoError(t, err)
			require.NotContains(t, r.Text, reason)
		}
	}
}

// The order's other payment may still fail or be refunded, so the mail does not
// mention its outcome, nor that the order was paid.
func TestRender_DuplicateChargeDoesNotMentionOtherPayment(t *testing.T) {
	t.Parallel()
	for lang, want := range map[language]string{korean: "이번 환불은 이 결제에만 해당합니다.", english: "The refund is for this payment only."} {
		r, err := render(notification{Template: paymentRefunded, Subject: "goods-17", Params: map[string]string{
			paramOrderKind: "goods", paramAmount: "15000", paramCurrency: "KRW", paramReason: "duplicate_charge"}}, lang)
		require.NoError(t, err)
		require.Contains(t, r.Text, want)
		for _, untrue := range []string{"twice", "double", "stays", "유지", "두 번", "중복"} {
			require.NotContains(t, r.Title+r.Text, untrue)
		}
	}
}
