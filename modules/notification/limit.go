package notification

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/platform/bus"
)

// limits bounds the number of mails to one mailbox, because addresses are not
// verified. The first mails of a window are sent at once. Further ones are
// collected and sent as one digest when the window ends. A window starts with a
// mail, and the next one with the first mail after the window ended.
type limits struct {
	window       time.Duration
	reservations int // mails about reservations in a window
	orders       int // mails about payments and deliveries in a window
}

// kind is what a limit counts. Reservations and orders are counted separately:
// changing a reservation costs nothing, so many changes must not delay
// receipts.
type kind string

const (
	reservations kind = "reservations"
	orders       kind = "orders"
)

func kindOf(template string) kind {
	if strings.HasPrefix(template, "reservation_") {
		return reservations
	}
	return orders
}

func (l limits) of(k kind) int {
	if k == reservations {
		return l.reservations
	}
	return l.orders
}

// digestSize is the maximum number of notifications in one digest; further ones
// go into the next digest, one window later. It bounds the size of the mail and
// of the transaction that completes it.
const digestSize = 500

// recipientOf returns a hash that identifies a mailbox. It ignores upper case,
// the part of the local name after a plus sign, and dots at Gmail, because
// those addresses reach the same mailbox. It is a hash because only contacts
// may contain the address.
func recipientOf(email string) string {
	local, domain, _ := strings.Cut(strings.ToLower(email), "@")
	local, _, _ = strings.Cut(local, "+")
	if domain == "gmail.com" || domain == "googlemail.com" {
		local, domain = strings.ReplaceAll(local, ".", ""), "gmail.com"
	}
	sum := sha256.Sum256([]byte(local + "@" + domain))
	return hex.EncodeToString(sum[:])
}

// admit counts a mail for a recipient. Beyond the limit it returns the digest
// that the notification goes into and, for a new digest, how long it is
// collected. The recipient's row stays locked until the transaction ends, so
// the count is exact across processes. It also deletes up to two expired rows.
func (l limits) admit(ctx context.Context, tx *bus.Tx, recipient string, k kind) (digest uuid.UUID, opened bool, wait time.Duration, err error) {
	var over, collecting bool
	err = tx.QueryRowContext(ctx, `
		WITH old AS (
			DELETE FROM recipients WHERE (recipient, kind) IN (
				SELECT recipient, kind FROM recipients
				WHERE digest_id IS NULL AND began_at < now() - greatest($3 * interval '2 milliseconds', interval '1 day') AND recipient <> $1
				ORDER BY began_at LIMIT 2 FOR UPDATE SKIP LOCKED))
		INSERT INTO recipients AS r (recipient, kind, began_at, mails) VALUES ($1, $2, clock_timestamp(), 1)
		ON CONFLICT (recipient, kind) DO UPDATE SET
			mails = CASE WHEN r.began_at + $3 * interval '1 millisecond' <= clock_timestamp() THEN 1 ELSE least(r.mails, $4) + 1 END,
			began_at = CASE WHEN r.began_at + $3 * interval '1 millisecond' <= clock_timestamp() THEN clock_timestamp() ELSE r.began_at END
		RETURNING mails > $4, digest_id IS NOT NULL AND collected < $5`,
		recipient, k, l.window.Milliseconds(), l.of(k), digestSize).Scan(&over, &collecting)
	if err != nil {
		return uuid.Nil, false, 0, fmt.Errorf("count the mails of a recipient: %w", err)
	}
	if !over {
		return uuid.Nil, false, 0, nil
	}
	digest, err = uuid.NewV7()
	if err != nil {
		return uuid.Nil, false, 0, err
	}
	var milliseconds float64
	err = tx.QueryRowContext(ctx, `
		UPDATE recipients SET
			digest_id = CASE WHEN $3 THEN digest_id ELSE $4 END,
			collected = CASE WHEN $3 THEN collected + 1 ELSE 1 END,
			digest_at = CASE WHEN $3 THEN digest_at ELSE greatest(began_at, digest_at) + $5 * interval '1 millisecond' END
		WHERE recipient = $1 AND kind = $2
		RETURNING digest_id, extract(epoch FROM digest_at - now()) * 1000`,
		recipient, k, collecting, digest, l.window.Milliseconds()).Scan(&digest, &milliseconds)
	if err != nil {
		return uuid.Nil, false, 0, fmt.Errorf("collect for a digest: %w", err)
	}
	return digest, !collecting, time.Duration(max(milliseconds, 0)) * time.Millisecond, nil
}
