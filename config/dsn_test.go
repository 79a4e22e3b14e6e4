package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/config"
)

// It may be a DSN of another form, with its password.
func TestRedacted_HidesInvalidDatabaseURL(t *testing.T) {
	for _, address := range []config.Secret{"host=db user=u password=canary dbname=x", "u:canary@db.example.com/x", "u@db/x?password=canary"} {
		c := config.Default()
		c.Database.URL, c.Database.Parts = address, []config.Secret{address}
		require.NotContains(t, c.Redacted(), "canary")
	}
	c := config.Default()
	c.Database.Parts = []config.Secret{"/srv/payment/database.url"}
	require.Contains(t, c.Redacted(), "/srv/payment/database.url", "a file's name is no secret")
}
