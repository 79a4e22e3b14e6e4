package pgtest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"millrace/platform/postgres/pgurl"
)

// iterations of SCRAM-SHA-256: the fewest that lib/pq accepts.
const iterations = 1000

// cheapSignIn stores the user's password so that signing in takes 1,000 iterations of
// SCRAM-SHA-256 instead of 4,096: tests open tens of thousands of connections, and the
// iterations took a third of their processor time.
func cheapSignIn(db *sql.DB, address string) error {
	u, err := pgurl.Parse(address)
	if err != nil {
		return err
	}
	user, password := u.Get("user"), u.Get("password")
	if password == "" {
		return nil
	}
	_, err = db.Exec(fmt.Sprintf(`ALTER ROLE %s PASSWORD %s`, pq.QuoteIdentifier(user), pq.QuoteLiteral(verifier(password))))
	return err
}

// verifier is what PostgreSQL stores of a password (RFC 5803).
func verifier(password string) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // it never fails
	last := sum([]byte(password), append(salt[:len(salt):len(salt)], 0, 0, 0, 1))
	salted := slices.Clone(last)
	for range iterations - 1 {
		last = sum([]byte(password), last)
		subtle.XORBytes(salted, salted, last)
	}
	stored := sha256.Sum256(sum(salted, []byte("Client Key")))
	server := sum(salted, []byte("Server Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:", iterations) + encode(salt) + "$" + encode(stored[:]) + ":" + encode(server)
}

func sum(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}
