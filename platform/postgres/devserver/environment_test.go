package devserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/postgres/devserver"
)

// The variables are those that developers set for other PostgreSQL servers.
func TestStart_IgnoresLibpqVariables(t *testing.T) {
	for name, value := range map[string]string{
		"PGHOST": "203.0.113.1", "PGHOSTADDR": "203.0.113.1", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGDATABASE": "nothing",
		"PGSERVICE": "elsewhere", "PGGSSENCMODE": "disable", "PGCLIENTENCODING": "EUC_KR", "PGDATESTYLE": "German", "PGTZ": "Nowhere",
		"PGOPTIONS": "-c nonsense=1", "PGTARGETSESSIONATTRS": "standby", "PGSSLMODE": "verify-full", "PGREQUIRESSL": "1", "PGDATA": "/nowhere",
	} {
		t.Setenv(name, value)
	}
	for _, overTCP := range []bool{false, true} {
		cfg := config(dataDir(t))
		cfg.Template, cfg.TCP = "", overTCP
		server, err := devserver.Start(t.Context(), cfg)
		require.NoError(t, err)
		require.NoError(t, server.CreateDatabase(t.Context(), "here"))
		require.NoError(t, server.Stop())
	}
}
