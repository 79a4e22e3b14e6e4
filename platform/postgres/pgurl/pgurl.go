// Package pgurl parses, completes and checks the URL of a PostgreSQL database.
//
// A parsed URL determines a connection completely: no environment variable, service file or
// repeated parameter can change it. With lib/pq alone they could ([Forget] has the list), and
// the program would check one configuration and connect with another.
//
//   - [Parse] accepts the URLs that managed services, other libraries and people write, and
//     refuses ambiguous ones. It refuses parameters that cannot be supported, by name, with
//     what to write instead.
//   - [URL.Complete] adds what libpq's users expect from PGUSER, PGPASSWORD, PGSSLMODE and
//     others, and refuses the variables that would lead to another server.
//   - [URL.Encrypted] checks each host of the final configuration.
//
// No error contains a password, or text that may be a part of one.
package pgurl

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"

	"millrace/platform/postgres/signin"
)

// URL is a database's address: lib/pq's parameters by name. The zero value is not a valid
// address. A URL is immutable.
type URL struct{ parameters map[string]string }

const (
	form    = "postgres://user:password@host:port/database"
	special = "in a password, special characters are written %XX: @ is %40, : %3A, / %2F, # %23, ? %3F, % %25"
)

var errForm = errors.New("is not " + form + " (" + special + ")")

// Parse parses a URL. It ignores spaces, line ends and quotes around it. The error does not
// contain the name of the setting.
func Parse(raw string) (URL, error) {
	u := URL{map[string]string{}}
	rest, err := withoutScheme(clean(raw))
	if err != nil {
		return URL{}, err
	}
	if strings.ContainsAny(rest, "\r\n\t") {
		return URL{}, errors.New("has a line break or a tab in it")
	}
	if strings.Contains(rest, "#") {
		return URL{}, errors.New("has a # in it, which ends a URL: " + special)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	path = strings.TrimSuffix(path, "/")
	if strings.ContainsAny(path, "@/") {
		return URL{}, errors.New("has an @ or a second / behind the host: " + special)
	}
	if err := u.readAuthority(authority); err != nil {
		return URL{}, err
	}
	if u.parameters["dbname"], err = url.PathUnescape(path); err != nil {
		return URL{}, errForm
	}
	if err := u.readQuery(query); err != nil {
		return URL{}, err
	}
	maps.DeleteFunc(u.parameters, func(_, value string) bool { return value == "" })
	if err := u.agrees(); err != nil {
		return URL{}, err
	}
	return u, nil
}

func clean(raw string) string {
	text := strings.TrimSpace(strings.TrimPrefix(raw, "\ufeff"))
	if n := len(text); n > 1 && (text[0] == '"' || text[0] == '\'') && text[n-1] == text[0] {
		text = strings.TrimSpace(text[1 : n-1])
	}
	return text
}

// withoutScheme is the text after postgres://.
func withoutScheme(text string) (string, error) {
	scheme, rest, found := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case found && (scheme == "postgres" || scheme == "postgresql"):
		return rest, nil
	case strings.HasPrefix(text, "jdbc:"):
		return "", errors.New("is a URL for JDBC: write it as " + form)
	case found && strings.HasPrefix(scheme, "postgres") && strings.Contains(scheme, "+"):
		return "", errors.New("names a library behind postgres+: write it as " + form)
	case keywords.MatchString(text):
		return "", errors.New("is a list of keyword=value: write it as " + form)
	}
	return "", errForm
}

var keywords = regexp.MustCompile(`^\s*[a-z_]+\s*=`)

// readAuthority parses user:password@host:port,host:port.
func (u URL) readAuthority(authority string) error {
	at := strings.LastIndex(authority, "@") // a password may contain @
	if at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		var errs [2]error
		u.parameters["user"], errs[0] = url.PathUnescape(user)
		u.parameters["password"], errs[1] = url.PathUnescape(password)
		if errors.Join(errs[:]...) != nil {
			return errors.New("has a % that two hexadecimal digits do not follow: " + special)
		}
	}
	if authority = authority[at+1:]; authority == "" {
		return nil
	}
	var hosts, ports []string
	for item := range strings.SplitSeq(authority, ",") {
		host, port, err := hostPort(item)
		if err != nil {
			return err
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	u.parameters["host"] = strings.Join(hosts, ",")
	if len(slices.Compact(slices.Clone(ports))) == 1 {
		u.parameters["port"] = ports[0]
		return nil
	}
	for i := range ports {
		ports[i] = cmp.Or(ports[i], "5432")
	}
	u.parameters["port"] = strings.Join(ports, ",")
	return nil
}

func hostPort(item string) (host, port string, err error) {
	if inside, after, bracketed := strings.Cut(strings.TrimPrefix(item, "["), "]"); bracketed && strings.HasPrefix(item, "[") {
		host, port = inside, strings.TrimPrefix(after, ":")
		if after != "" && after[0] != ':' {
			return "", "", errForm
		}
	} else if host, port, _ = strings.Cut(item, ":"); strings.Contains(port, ":") {
		return "", "", errors.New("has more than one : in a host: an IPv6 address stands in brackets, as postgres://user@[2001:db8::1]:5432/database (" + special + ")")
	}
	if host, err = url.PathUnescape(host); err != nil {
		return "", "", errForm
	}
	return host, port, nil
}

var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// readQuery parses the parameters after the question mark.
func (u URL) readQuery(query string) error {
	seen := map[string]bool{}
	for item := range strings.SplitSeq(query, "&") {
		if item == "" {
			continue
		}
		name, value, _ := strings.Cut(item, "=")
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		if other := strings.ReplaceAll(strings.ToLower(name), "-", "_"); other != strings.ToLower(name) && anothers(other) {
			_, err := accepted(other, "given")
			return fmt.Errorf("%w (it is written %s)", err, name)
		}
		if nameErr != nil || valueErr != nil || !parameterName.MatchString(name) {
			return errors.New("has something behind its ? that is not name=value: " + special)
		}
		name = strings.ToLower(name) // the server's spelling
		if name == "database" {
			name = "dbname"
		}
		if seen[name] {
			return errors.New(name + " is given twice: keep one of them")
		}
		seen[name] = true
		if already := u.parameters[name]; already != "" && value != "" {
			// Cloud SQL's guides write localhost as the host and give the socket as a parameter.
			if name != "host" || already != "localhost" || !isSocket(value) {
				return errors.New(name + " is given twice, before the ? and behind it: keep one of them")
			}
		}
		value, err := accepted(name, value)
		if err != nil {
			return err
		}
		if value != "" {
			u.parameters[name] = value
		}
	}
	return nil
}

// agrees checks the parameters against each other.
func (u URL) agrees() error {
	for name, value := range u.parameters {
		if strings.ContainsRune(value, 0) {
			return errors.New(name + " has a zero byte in it")
		}
	}
	if u.parameters["dbname"] == "" {
		return errors.New("names no database: " + form)
	}
	hosts, ports := 1, 1
	if given := u.parameters["host"]; given != "" {
		hosts = len(strings.Split(given, ","))
		for host := range strings.SplitSeq(given, ",") {
			if !isHost(host) {
				return errors.New("has a host that is no name, no IP address and no folder of a socket: " + special + "; a name with other than ASCII letters is written in its xn-- form")
			}
		}
	}
	if given := u.parameters["hostaddr"]; given != "" {
		addresses := strings.Split(given, ",")
		if u.parameters["host"] != "" && len(addresses) != hosts {
			return errors.New("hostaddr and host name a different number of servers")
		}
		hosts = len(addresses)
	}
	if given := u.parameters["port"]; given != "" {
		ports = len(strings.Split(given, ","))
		for port := range strings.SplitSeq(given, ",") {
			if n, err := strconv.Atoi(port); port != "" && (err != nil || n < 1 || n > 65535) {
				return errors.New("has a port that is no number from 1 to 65535 (" + special + ")")
			}
		}
	}
	if ports != 1 && ports != hosts {
		return errors.New("names more than one port, but not one for each host")
	}
	return u.secured()
}

func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || host == "" || isSocket(host) {
		return true
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
	})
}

func isSocket(host string) bool { return filepath.IsAbs(host) || strings.HasPrefix(host, "@") }

// With returns u with a parameter, or without it if value is empty.
func (u URL) With(name, value string) URL {
	changed := maps.Clone(u.parameters)
	if changed[name] = value; value == "" {
		delete(changed, name)
	}
	return URL{changed}
}

// Get returns a parameter, "" if it is missing.
func (u URL) Get(name string) string { return u.parameters[name] }

// String is u as a URL that net/url can parse: several hosts, or a socket, are parameters. It
// contains no comma, so that it may be an item of a list. It contains the password.
func (u URL) String() string { return u.text(func(_, value string) string { return value }) }

// Redacted is u for people: without the password, and only with parameters that are known to
// be harmless.
func (u URL) Redacted() string {
	return u.text(func(name, value string) string {
		switch name {
		case "user", "host", "hostaddr", "port", "dbname", "sslmode", "sslrootcert", "application_name", "connect_timeout", "target_session_attrs":
			if name != "sslrootcert" || u.parameters["sslinline"] == "" {
				return value
			}
		}
		return "xxxxx"
	})
}

// Where is the user, the server and the database, for messages.
func (u URL) Where() string {
	where := cmp.Or(u.parameters["hostaddr"], u.parameters["host"])
	if port := u.parameters["port"]; port != "" && !isSocket(where) {
		where += ":" + port
	}
	if user := u.parameters["user"]; user != "" {
		where = user + "@" + where
	}
	return where + "/" + u.parameters["dbname"]
}

func (u URL) text(shown func(name, value string) string) string {
	query := url.Values{}
	for name, value := range u.parameters {
		query.Set(name, shown(name, value))
	}
	take := func(name string) string {
		value := query.Get(name)
		query.Del(name)
		return value
	}
	name := take("dbname")
	made := url.URL{Scheme: "postgres", Path: "/" + name, RawPath: "/" + url.PathEscape(name)}
	if host := u.parameters["host"]; host != "" && !isSocket(host) && !strings.Contains(host, ",") {
		made.Host = take("host")
		switch port := take("port"); {
		case port != "":
			made.Host = net.JoinHostPort(made.Host, port)
		case strings.Contains(made.Host, ":"):
			made.Host = "[" + made.Host + "]"
		}
	}
	switch user, password := take("user"), take("password"); {
	case password != "":
		made.User = url.UserPassword(user, password)
	case user != "":
		made.User = url.User(user)
	}
	made.RawQuery = query.Encode()
	return strings.ReplaceAll(made.String(), ",", "%2C")
}

// Config is lib/pq's final configuration. It calls Forget.
func (u URL) Config() (pq.Config, error) {
	Forget()
	cfg, err := pq.NewConfig(u.DSN())
	if err != nil {
		if u.parameters["user"] == "" && strings.Contains(err.Error(), "user") {
			return cfg, errors.New("names no user, and this process has none that the system knows: " + form)
		}
		return cfg, errors.New(strings.TrimPrefix(err.Error(), "pq: "))
	}
	if err := readable(cfg); err != nil {
		return cfg, err
	}
	return cfg, nil
}

// Open returns a pool of lib/pq that connects on first use. It is for the administration of
// a server; a program uses package postgres.
func (u URL) Open() (*sql.DB, error) {
	cfg, err := u.Config()
	if err != nil {
		return nil, err
	}
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}
	connector.Dialer(guarded{})
	return sql.OpenDB(connector), nil
}

// guarded dials servers, and never sends them a readable password.
type guarded struct{ net.Dialer }

func (g guarded) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := g.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return signin.Guard(conn), nil
}

func (g guarded) Dial(network, address string) (net.Conn, error) {
	return g.DialContext(context.Background(), network, address)
}

func (g guarded) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return g.DialContext(ctx, network, address)
}

// DSN is u in lib/pq's keyword='value' form. It contains the password.
func (u URL) DSN() string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var all []string
	for _, name := range slices.Sorted(maps.Keys(u.parameters)) {
		all = append(all, name+"='"+escape.Replace(u.parameters[name])+"'")
	}
	return strings.Join(all, " ")
}
