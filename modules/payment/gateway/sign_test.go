package gateway

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

var (
	now    = time.Date(2026, 3, 2, 4, 5, 6, 0, time.UTC)
	stamp  = strconv.FormatInt(now.Unix(), 10)
	secret = []byte("a secret of some length")
	older  = []byte("the secret before this one")
	body   = []byte(`{"transactionKey":"t"}`)
)

// This is the test vector of the Standard Webhooks reference libraries.
func TestSign_MatchesStandardWebhooksVector(t *testing.T) {
	t.Parallel()
	key := Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	got := Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", got)
}

func TestVerify_AcceptsOneValidSignatureByAnySecret(t *testing.T) {
	t.Parallel()
	good, bad := Sign(secret, "id", now, body), Sign([]byte("forger"), "id", now, body)
	for name, signatures := range map[string]string{
		"alone": good, "second": bad + " " + good, "first": good + " " + bad,
		"beside another version": "v2,AAAA " + good, "beside rubbish": "v1,%%% v1, " + good,
		"by the older secret": Sign(older, "id", now, body),
	} {
		require.NoError(t, Verify([][]byte{secret, older}, "id", stamp, signatures, body, now), name)
	}
	require.Error(t, Verify([][]byte{secret}, "id", stamp, Sign(older, "id", now, body), body, now), "after the rotation")
}

func TestVerify_RejectsForgedAndStaleCallbacksNamingTheHeader(t *testing.T) {
	t.Parallel()
	good := Sign(secret, "id", now, body)
	at := func(d time.Duration) (string, string) {
		when := now.Add(d)
		return strconv.FormatInt(when.Unix(), 10), Sign(secret, "id", when, body)
	}
	earlier, earlierSigned := at(-301 * time.Second)
	later, laterSigned := at(301 * time.Second)
	for name, c := range map[string]struct {
		secrets        [][]byte
		id, stamp, sig string
		body           []byte
		header         string
	}{
		"another body":      {[][]byte{secret}, "id", stamp, good, []byte(`{}`), HeaderSignature},
		"another id":        {[][]byte{secret}, "other", stamp, good, body, HeaderSignature},
		"another time":      {[][]byte{secret}, "id", strconv.FormatInt(now.Unix()+1, 10), good, body, HeaderSignature},
		"no signature":      {[][]byte{secret}, "id", stamp, "", body, HeaderSignature},
		"too many":          {[][]byte{secret}, "id", stamp, strings.Repeat("v1,AAAA ", 17) + good, body, HeaderSignature},
		"another version":   {[][]byte{secret}, "id", stamp, "v2" + good[2:], body, HeaderSignature},
		"cut short":         {[][]byte{secret}, "id", stamp, good[:len(good)-4], body, HeaderSignature},
		"the empty MAC":     {[][]byte{secret}, "id", stamp, "v1,", body, HeaderSignature},
		"no secret":         {nil, "id", stamp, good, body, HeaderSignature},
		"an empty secret":   {[][]byte{{}}, "id", stamp, Sign(nil, "id", now, body), body, HeaderSignature},
		"no id":             {[][]byte{secret}, "", stamp, good, body, HeaderID},
		"a dot in the id":   {[][]byte{secret}, "i.d", stamp, Sign(secret, "i.d", now, body), body, HeaderID},
		"a control in it":   {[][]byte{secret}, "i\nd", stamp, Sign(secret, "i\nd", now, body), body, HeaderID},
		"no time":           {[][]byte{secret}, "id", "", good, body, HeaderTimestamp},
		"no number":         {[][]byte{secret}, "id", "now", good, body, HeaderTimestamp},
		"a padded number":   {[][]byte{secret}, "id", "0" + stamp, good, body, HeaderTimestamp},
		"the far future":    {[][]byte{secret}, "id", "9223372036854775807", good, body, HeaderTimestamp},
		"the far past":      {[][]byte{secret}, "id", "-9223372036854775808", good, body, HeaderTimestamp},
		"stale by a second": {[][]byte{secret}, "id", earlier, earlierSigned, body, HeaderTimestamp},
		"early by a second": {[][]byte{secret}, "id", later, laterSigned, body, HeaderTimestamp},
	} {
		err := Verify(c.secrets, c.id, c.stamp, c.sig, c.body, now)
		require.Error(t, err, name)
		require.Equal(t, errs.Unauthorized, errs.KindOf(err), name)
		require.Equal(t, http.StatusUnauthorized, errs.KindOf(err).HTTPStatus())
		require.Equal(t, c.header, errs.FieldOf(err), name)
		require.NotContains(t, err.Error(), base64.StdEncoding.EncodeToString(secret), name)
	}
	for _, d := range []time.Duration{-Tolerance, Tolerance} {
		edge, signed := at(d)
		require.NoError(t, Verify([][]byte{secret}, "id", edge, signed, body, now))
	}
}

func TestDecode_RejectsMalformedCallbacks(t *testing.T) {
	t.Parallel()
	const fine = `{"transactionKey":"t","orderKey":"goods-1","amount":1,"currency":"KRW","status":"APPROVED","new":{"field":1}}`
	r, err := Decode([]byte(fine))
	require.NoError(t, err)
	require.Equal(t, Result{TransactionKey: "t", OrderKey: "goods-1", Amount: 1, Currency: "KRW", Status: Approved}, r)
	odd, err := Decode([]byte(strings.Replace(fine, "APPROVED", "PARTIALLY_APPROVED", 1)))
	require.NoError(t, err, "the decoder accepts unknown statuses")
	require.Equal(t, Status("PARTIALLY_APPROVED"), odd.Status)
	named, err := Decode([]byte(strings.Replace(fine, `"amount"`, `"failedReason":"Kim Minji's card","amount"`, 1)))
	require.NoError(t, err)
	require.Equal(t, "other", named.FailedReason, "free text may name a person")

	for name, bad := range map[string]string{
		"empty": "", "not JSON": "{", "an array": "[]", "two objects": fine + fine, "a string for an amount": strings.Replace(fine, `:1,`, `:"1",`, 1),
		"half a unit": strings.Replace(fine, `:1,`, `:1.5,`, 1), "too big": strings.Replace(fine, `:1,`, `:9223372036854775808,`, 1),
	} {
		_, err := Decode([]byte(bad))
		require.Equal(t, errs.Undecodable, errs.KindOf(err), name)
	}
	for field, bad := range map[string]string{
		"transactionKey": strings.Replace(fine, `"t"`, `"t\u0000"`, 1), "orderKey": strings.Replace(fine, "goods-1", "", 1),
		"amount": strings.Replace(fine, `:1,`, `:0,`, 1), "currency": strings.Replace(fine, "KRW", "", 1), "status": strings.Replace(fine, "APPROVED", "approved", 1),
	} {
		_, err := Decode([]byte(bad))
		require.Equal(t, errs.Invalid, errs.KindOf(err), field)
		require.Equal(t, field, errs.FieldOf(err))
	}
}

// FuzzCallback feeds arbitrary requests to the callback code. Nothing may panic,
// only signed bodies may be accepted, and accepted results must keep the rules
// that the store relies on.
func FuzzCallback(f *testing.F) {
	f.Add("id", stamp, Sign(secret, "id", now, body), body)
	full := []byte(`{"transactionKey":"t","orderKey":"goods-1","amount":1,"currency":"KRW","status":"APPROVED"}`)
	f.Add("id", stamp, Sign(older, "id", now, full), full)
	f.Add("", "", "", []byte(nil))
	f.Add("i.d", "-1", "v1, v1,AA== v2,x", []byte(`[{}]`))
	f.Add("id", "9223372036854775807", "v1,"+strings.Repeat("A", 44), []byte(`{"amount":1e400,"status":"\u0000"}`))
	f.Fuzz(func(t *testing.T, id, timestamp, signatures string, body []byte) {
		secrets := [][]byte{secret, older}
		if Verify(secrets, id, timestamp, signatures, body, now) == nil {
			seconds, err := strconv.ParseInt(timestamp, 10, 64)
			require.NoError(t, err)
			at := time.Unix(seconds, 0)
			require.True(t, strings.Contains(signatures, Sign(secret, id, at, body)) || strings.Contains(signatures, Sign(older, id, at, body)))
		}
		r, err := Decode(body)
		if err != nil {
			require.Contains(t, []errs.Kind{errs.Undecodable, errs.Invalid}, errs.KindOf(err))
			return
		}
		require.Positive(t, r.Amount)
		require.NotEmpty(t, r.TransactionKey)
		require.NotContains(t, r.TransactionKey+r.OrderKey+r.Currency+string(r.Status)+r.FailedReason, "\x00")
		require.LessOrEqual(t, len(r.FailedReason), maxReason)
	})
}
