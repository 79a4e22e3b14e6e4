package pgtest

import (
	"fmt"
	"net/url"
	"os"
	"testing"

	"github.com/lib/pq"
)

// RolePrefix returns a prefix, of a–z, 0–9 and _, for the names of roles that a test creates,
// because roles belong to the server and not to a database. At the end of the test, roles
// with the prefix that own nothing are dropped: call it before URL, so that the database is
// dropped first.
func RolePrefix(t testing.TB) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		t.Fatalf("this test needs PostgreSQL, and there is none: %v", err)
	}
	prefix := fmt.Sprintf("t%d_%d_", os.Getpid(), counter.Add(1))
	t.Cleanup(func() {
		if err := server.dropRoles(prefix); err != nil {
			t.Errorf("drop the test's roles: %v", err)
		}
	})
	return prefix
}

func (s *server) dropRoles(prefix string) error {
	return s.exec(`DO $$ DECLARE r name; BEGIN
		FOR r IN SELECT rolname FROM pg_roles WHERE starts_with(rolname, ` + pq.QuoteLiteral(prefix) + `) LOOP
			EXECUTE format('DROP ROLE %I', r);
		END LOOP; END $$`)
}

// As returns the URL with another user and password.
func As(address, user, password string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err) // the address comes from URL
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}
