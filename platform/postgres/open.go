package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"

	"millrace/platform/errs"
)

// Config says which database to open, and how. URL and MaxConns have no
// default; a zero duration takes the default that its comment names.
type Config struct {
	// URL is postgres://user:password@host:port/database, or for a Unix socket
	// postgres://user@/database?host=/directory. Parameters behind the question
	// mark are lib/pq's, or settings of the server; they win over the defaults
	// here. Without sslmode, a server on this machine is spoken to in the clear
	// and any other must speak TLS (sslmode=require).
	URL string

	// Schema is the search path of every connection, alone: [a-z_][a-z0-9_]*,
	// at most 63 bytes. Empty leaves the server's own.
	Schema string

	// Role is assumed by every connection, as with SET ROLE: it then has that
	// role's rights and no others. The URL's user must be a member of it. A plain
	// identifier like Schema; empty: the user's own rights.
	Role string

	// Application is the name that pg_stat_activity shows.
	Application string

	// MaxConns bounds the pool; idle connections are kept up to the same number.
	MaxConns int

	ConnectTimeout   time.Duration // to a connection that is ready, 5 s
	StatementTimeout time.Duration // one statement, 30 s; a connection without an answer 5 s later is closed
	IdleInTxTimeout  time.Duration // a transaction that says nothing, 3 s: a frozen process holds its locks no longer
	UserTimeout      time.Duration // bytes that the other side does not acknowledge, 10 s

	// LockTimeout bounds the wait for one lock, 4 s: a little more than
	// IdleInTxTimeout, so that whoever queues behind a frozen process gets the
	// lock when the server ends that process's transaction, and does not fail
	// a moment before. (A deadlock is found by the server within 1 s.)
	LockTimeout time.Duration
}

var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// Open returns a pool of connections to one database, after it has made one and
// found it usable. The error says what to do and never shows the password; its
// kind is Invalid if the Config is at fault, else Resource.
func Open(ctx context.Context, cfg Config) (*sql.DB, error) {
	if cfg.MaxConns < 1 {
		return nil, errs.InvalidField("MaxConns", "is %d: a pool needs at least 1 connection", cfg.MaxConns)
	}
	from, err := newConnector(cfg)
	if err != nil {
		return nil, err
	}
	if err := refusePooler(ctx, from); err != nil {
		return nil, err
	}
	db := sql.OpenDB(from)
	db.SetMaxOpenConns(cfg.MaxConns)
	db.SetMaxIdleConns(cfg.MaxConns)
	return db, nil
}

// newConnector turns cfg into lib/pq's configuration. Everything a session
// needs travels in its first packet: it costs no round trip, and a connection
// is never seen without it.
func newConnector(cfg Config) (*connector, error) {
	parsed, err := url.Parse(cfg.URL)
	if err != nil || (parsed.Scheme != "postgres" && parsed.Scheme != "postgresql") {
		// The parser's own words may quote the password.
		return nil, errs.InvalidField("URL", "is not a postgres://user:password@host:port/database URL (special characters in a password are written %%XX)")
	}
	if cfg.Schema != "" && !identifier.MatchString(cfg.Schema) {
		return nil, errs.InvalidField("Schema", "%q is not a plain lower-case identifier of at most 63 bytes", cfg.Schema)
	}
	if cfg.Role != "" && !identifier.MatchString(cfg.Role) {
		return nil, errs.InvalidField("Role", "%q is not a plain lower-case identifier of at most 63 bytes", cfg.Role)
	}
	pg, err := pq.NewConfig(cfg.URL)
	if err != nil {
		return nil, errs.InvalidField("URL", "%s", strings.TrimPrefix(err.Error(), "pq: "))
	}
	if pg.SSLMode == "" && local(pg) {
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
	return &connector{Config: session, dial: dial}, nil
}

// answerGrace is what an answer may take beyond the statement's own time limit,
// before its connection counts as dead.
const answerGrace = 5 * time.Second

// parseTime reads a duration as the server's settings have it: milliseconds, or
// with a unit. 0 if it is none, or none that is known.
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

// local says whether the server is on this machine.
func local(cfg pq.Config) bool {
	hosts := append([]pq.ConfigMultihost{{Host: cfg.Host, Hostaddr: cfg.Hostaddr}}, cfg.Multi...)
	for _, h := range hosts {
		ip := net.ParseIP(h.Host)
		switch {
		case h.Hostaddr.IsValid() && h.Hostaddr.IsLoopback():
		case h.Hostaddr.IsValid():
			return false
		case h.Host == "localhost", ip != nil && ip.IsLoopback(), socket(h.Host):
		default:
			return false
		}
	}
	return true
}

func socket(host string) bool { return filepath.IsAbs(host) || strings.HasPrefix(host, "@") }

// where names the server as a person would look for it.
func (c *connector) where() string {
	if socket(c.Host) {
		return "the socket in " + c.Host + " (port " + strconv.Itoa(int(c.Port)) + ")"
	}
	host := c.Host
	if c.Hostaddr.IsValid() {
		host = c.Hostaddr.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(c.Port)))
}

// cannotConnect says what failed and what to do, without the password.
func (c *connector) cannotConnect(cause error) error {
	if errors.Is(cause, context.Canceled) {
		return cause
	}
	advice := "is the server running, and is that its address?"
	var pg *pq.Error
	switch {
	case errors.As(cause, &pg):
		switch {
		case strings.Contains(pg.Message, "unsupported startup parameter"):
			return errPooler(c.where(), pg.Message)
		case pg.Code.Class() == "28":
			advice = "check the user and the password"
		case pg.Code == "3D000":
			advice = "create the database first"
		case pg.Code.Class() == "53":
			advice = "the server allows no more connections: raise its max_connections, or lower the pools"
		case pg.Code == "57P03":
			advice = "the server is starting or stopping: try again in a moment"
		}
	case errors.Is(cause, pq.ErrSSLNotSupported):
		advice = "the server speaks no TLS: if the network between is trusted, put sslmode=disable into the URL"
	case errors.Is(cause, context.DeadlineExceeded), os.IsTimeout(cause):
		advice = "nothing answered in " + c.ConnectTimeout.String() + ": check the address and the firewall"
	}
	return errs.As(errs.Resource, fmt.Errorf("cannot connect to PostgreSQL at %s as user %q, database %q: %w; %s",
		c.where(), c.User, c.Database, cause, advice))
}
