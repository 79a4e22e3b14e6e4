package postgres

import (
	"context"
	"database/sql"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
	"millrace/platform/postgres/pgurl"
)

// Config is which database to open, and how. URL and MaxConns have no default. A zero
// duration means the default in its comment.
type Config struct {
	// URL is postgres://user:password@host:port/database, or for a Unix socket
	// postgres://user@/database?host=/directory. Its parameters are lib/pq's, or settings of
	// the server, and win over the defaults here. Without sslmode, a server on this machine
	// is used without TLS, and any other must support TLS (sslmode=require). Only the URL
	// determines the database: see package pgurl.
	URL string

	// Schema is the only schema in the search path of every connection: [a-z_][a-z0-9_]*,
	// at most 63 bytes. If empty, it is the URL's search_path, else only what the server
	// has itself is found: a name of any other schema must be qualified. The server's
	// own default has the schema public, where others may have created functions.
	Schema string

	// Role is assumed by every connection, as with SET ROLE: it has that role's rights and
	// no others. The URL's user must be a member of it. The format is that of Schema; if
	// empty, the user's own rights apply.
	Role string

	// Application is the application_name in pg_stat_activity.
	Application string

	// MaxConns limits the pool; up to that many idle connections are kept.
	MaxConns int

	ConnectTimeout   time.Duration // until a connection is usable, 5 s
	StatementTimeout time.Duration // of one statement, 30 s; if no answer arrives within 5 s more, the connection is closed
	IdleInTxTimeout  time.Duration // between two statements of a transaction, 3 s; it limits how long a frozen process holds locks
	UserTimeout      time.Duration // until sent bytes are acknowledged, 10 s

	// LockTimeout limits the wait for one lock, 4 s: more than IdleInTxTimeout, so that a
	// statement that waits behind a frozen process gets the lock when the server ends that
	// process's transaction. (The server detects deadlocks within 1 s.)
	LockTimeout time.Duration
}

var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// Open returns a pool of connections to one database, after testing a connection. The error
// contains the next step, but never the password. Its kind is Invalid if the Config is
// wrong, else Resource.
func Open(ctx context.Context, cfg Config) (*sql.DB, error) {
	if cfg.MaxConns < 1 {
		return nil, errs.InvalidField("MaxConns", "is %d: a pool needs at least 1 connection", cfg.MaxConns)
	}
	from, err := newConnector(cfg)
	if err != nil {
		return nil, err
	}
	if from.tested, err = probe(ctx, from); err != nil {
		return nil, err
	}
	db := sql.OpenDB(from)
	db.SetMaxOpenConns(cfg.MaxConns)
	db.SetMaxIdleConns(cfg.MaxConns)
	if err := keepTested(ctx, db); err != nil {
		_ = db.Close() // report the first error
		return nil, err
	}
	return db, nil
}

// keepTested makes the pool take over the connection that the probe used.
func keepTested(ctx context.Context, db *sql.DB) error {
	tested, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	return tested.Close() // returns it to the pool
}

// newConnector converts cfg to lib/pq's configuration. A session's settings are part of its
// first packet: they need no round trip, and apply from the start.
func newConnector(cfg Config) (*connector, error) {
	address, err := pgurl.Parse(cfg.URL)
	if err != nil {
		return nil, errs.InvalidField("URL", "%s", err)
	}
	if cfg.Schema != "" && !identifier.MatchString(cfg.Schema) {
		return nil, errs.InvalidField("Schema", "%q is not a plain lower-case identifier of at most 63 bytes", cfg.Schema)
	}
	if cfg.Role != "" && !identifier.MatchString(cfg.Role) {
		return nil, errs.InvalidField("Role", "%q is not a plain lower-case identifier of at most 63 bytes", cfg.Role)
	}
	pg, err := address.Config()
	if err != nil {
		return nil, errs.InvalidField("URL", "%s", err)
	}
	if pg.SSLMode == "" && pgurl.Local(pg) {
		pg.SSLMode = pq.SSLModeDisable
	}
	if pg.ConnectTimeout == 0 || cfg.ConnectTimeout != 0 {
		pg.ConnectTimeout = either(cfg.ConnectTimeout, 5*time.Second)
	}
	if cfg.Application != "" {
		pg.ApplicationName = cfg.Application
	}
	userTimeout := either(cfg.UserTimeout, 10*time.Second)
	session := pg.Clone()
	session.Runtime["TimeZone"] = "UTC"
	if cfg.Schema != "" {
		session.Runtime["search_path"] = `"` + cfg.Schema + `"`
	} else if session.Runtime["search_path"] == "" {
		session.Runtime["search_path"] = "pg_catalog, pg_temp"
	}
	if cfg.Role != "" {
		session.Runtime["role"] = cfg.Role
	}
	for _, limit := range []struct {
		setting   string
		chosen    time.Duration
		byDefault time.Duration
	}{
		{"statement_timeout", cfg.StatementTimeout, 30 * time.Second},
		{"lock_timeout", cfg.LockTimeout, 4 * time.Second},
		{"idle_in_transaction_session_timeout", cfg.IdleInTxTimeout, 3 * time.Second},
		{"tcp_user_timeout", cfg.UserTimeout, userTimeout},
	} {
		if _, inURL := session.Runtime[limit.setting]; !inURL || limit.chosen != 0 {
			session.Runtime[limit.setting] = milliseconds(either(limit.chosen, limit.byDefault))
		}
	}
	dial := dialer{userTimeout: userTimeout}
	if limit := parseTime(session.Runtime["statement_timeout"]); limit > 0 {
		dial.answer = limit + answerGrace
	}
	return &connector{Config: session, dial: dial, looking: make(chan struct{}, 1)}, nil
}

// answerGrace is how much longer than the statement's time limit an answer may take before
// the connection counts as dead.
const answerGrace = 5 * time.Second

// parseTime parses a duration in the format of the server's settings: milliseconds, or a
// number with a unit. It returns 0 if the format is unknown.
func parseTime(setting string) time.Duration {
	number := strings.TrimRight(setting, " abcdefghijklmnopqrstuvwxyz")
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	unit := map[string]time.Duration{"": time.Millisecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second,
		"min": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[strings.TrimSpace(setting[len(number):])]
	if err != nil {
		return 0
	}
	return time.Duration(n * float64(unit))
}

func either(chosen, byDefault time.Duration) time.Duration {
	if chosen != 0 {
		return chosen
	}
	return byDefault
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
