package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"millrace/platform/errs"
)

// The headers of a signed callback, as in the Standard Webhooks specification.
const (
	HeaderID        = "webhook-id"        // identifies the callback; the same on every attempt
	HeaderTimestamp = "webhook-timestamp" // seconds since 1970, of this attempt
	HeaderSignature = "webhook-signature" // "v1,<base64>", several separated by spaces
)

// Tolerance is how far a callback's timestamp may differ from now, either way.
const Tolerance = 300 * time.Second

// MaxCallback is the largest allowed body of a callback, in bytes.
const MaxCallback = 64 << 10

const (
	version       = "v1,"
	maxSignatures = 16
	maxID         = 128
	secretPrefix  = "whsec_"
)

// Sign returns one signature of a callback: "v1," and the base64 encoding of
// HMAC-SHA256(secret, id "." seconds "." body).
func Sign(secret []byte, id string, at time.Time, body []byte) string {
	return version + base64.StdEncoding.EncodeToString(digest(secret, id, strconv.FormatInt(at.Unix(), 10), body))
}

// Verify checks a callback's three headers against its raw body. One valid
// signature by any of the secrets is enough, so that a secret can be replaced
// while both are in use. An empty secret matches nothing. Every error has kind
// Unauthorized and names the header. Signatures are compared in constant time.
func Verify(secrets [][]byte, id, timestamp, signatures string, body []byte, now time.Time) error {
	if id == "" || len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' || r == '.' }) {
		// With a '.' the signed text could be split at another position.
		return unauthorized(HeaderID, "must be 1 to %d visible ASCII characters without '.'", maxID)
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != timestamp {
		return unauthorized(HeaderTimestamp, "must be whole seconds since 1970")
	}
	// Compare seconds, because the difference of extreme times overflows a Duration.
	if limit := int64(Tolerance / time.Second); seconds < now.Unix()-limit || seconds > now.Unix()+limit {
		return unauthorized(HeaderTimestamp, "is more than %s from now", Tolerance)
	}
	given := strings.Fields(signatures)
	if len(given) == 0 || len(given) > maxSignatures {
		return unauthorized(HeaderSignature, "must hold 1 to %d signatures", maxSignatures)
	}
	good := false
	for _, secret := range secrets {
		if len(secret) == 0 {
			continue
		}
		want := digest(secret, id, timestamp, body)
		for _, signature := range given {
			encoded, ok := strings.CutPrefix(signature, version)
			if !ok {
				continue // another version of the scheme; one of ours may follow
			}
			got, err := base64.StdEncoding.Strict().DecodeString(encoded)
			if err == nil && hmac.Equal(got, want) {
				good = true
			}
		}
	}
	if !good {
		return unauthorized(HeaderSignature, "fits no secret")
	}
	return nil
}

// Secret decodes a configured secret: "whsec_" and base64, or else the bytes of
// the text itself.
func Secret(text string) []byte {
	if encoded, ok := strings.CutPrefix(text, secretPrefix); ok {
		if secret, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			return secret
		}
	}
	return []byte(text)
}

func digest(secret []byte, id, timestamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

func unauthorized(header, format string, args ...any) error {
	return &errs.Error{Kind: errs.Unauthorized, Field: header, Msg: fmt.Sprintf(format, args...)}
}
