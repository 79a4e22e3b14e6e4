package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/lib/pq"

	"millrace/platform/errs"
	"millrace/platform/postgres/signin"
)

// cannotConnect returns an error with the cause and the next step, but without the
// password. Its kind is Invalid if only another URL helps, else Resource.
func (c *connector) cannotConnect(cause error) error {
	if errors.Is(cause, context.Canceled) {
		return cause
	}
	kind, advice := errs.Resource, c.advice(cause)
	var pg *pq.Error
	if errors.As(cause, &pg) {
		kind, advice = c.adviceOnAnswer(pg)
	}
	explained := fmt.Errorf("cannot connect to PostgreSQL at %s as user %q, database %q: %w; %s", c.where(), c.User, c.Database, cause, advice)
	if kind == errs.Invalid {
		return errs.InvalidField("URL", "%s", explained)
	}
	return errs.As(kind, explained)
}

// adviceOnAnswer is the next step after an error from the server, or from a proxy.
func (c *connector) adviceOnAnswer(pg *pq.Error) (errs.Kind, string) {
	message := pg.Message
	switch {
	case refusesSettings(pg):
		return errs.Invalid, "a proxy such as PgBouncer stands there and does not take this parameter: take it out of the URL (or PGOPTIONS, if it is in options), or connect to PostgreSQL itself"
	case strings.Contains(message, "no pg_hba.conf entry") && (strings.Contains(message, "no encryption") || strings.Contains(message, "SSL off")):
		return errs.Resource, "the server's pg_hba.conf has no line that lets this user in without TLS: write sslmode=verify-full into the URL"
	case strings.Contains(message, "no pg_hba.conf entry"):
		return errs.Resource, "add a line for this user, database and address to the server's pg_hba.conf, and reload it"
	case strings.HasPrefix(message, "Peer authentication failed"), strings.HasPrefix(message, "Ident authentication failed"):
		return errs.Resource, "on this socket the server lets in the system's user of the same name only: run the program as that user, or give the role a password and connect by host=localhost"
	case strings.Contains(message, "certificate") && pg.Code.Class() == "28":
		return errs.Resource, "the server wants a certificate of ours: name its files as sslcert and sslkey in the URL"
	case strings.Contains(message, "is not permitted to log in"):
		return errs.Resource, "the role may not log in: ALTER ROLE " + pq.QuoteIdentifier(c.User) + " LOGIN"
	case pg.Code == "28000" && strings.Contains(message, "does not exist"):
		return errs.Resource, "check the user in the URL, or make the role: CREATE ROLE " + pq.QuoteIdentifier(c.User) + " LOGIN PASSWORD '…'"
	case pg.Code.Class() == "28" && c.Password == "":
		return errs.Resource, "check the user and the password: the URL has no password, nor has PGPASSWORD, nor perhaps the password file"
	case pg.Code.Class() == "28":
		return errs.Resource, "check the user and the password in the URL (special characters in a password are written %XX; the server answers a wrong password and an unknown user alike)"
	case pg.Code == "3D000":
		return errs.Resource, "create the database first: CREATE DATABASE " + pq.QuoteIdentifier(c.Database) + " ENCODING 'UTF8' TEMPLATE template0"
	case pg.Code == "42501" && strings.Contains(message, "database"):
		return errs.Resource, "let the user in: GRANT CONNECT ON DATABASE " + pq.QuoteIdentifier(c.Database) + " TO " + pq.QuoteIdentifier(c.User)
	case c.Runtime["role"] != "" && strings.Contains(message, c.Runtime["role"]):
		return errs.Resource, "make the role, and this user a member of it: `millrace migrate` does, as the owner of the tables"
	case pg.Code == "42704", pg.Code == "22023", pg.Code == "55P02", pg.Code == "42501", pg.Code == "42601":
		return errs.Invalid, "it is no parameter of the driver's and no setting that the server takes: take it out of the URL (or out of PGOPTIONS)"
	case strings.Contains(message, "max_client_conn"), strings.Contains(message, "query_wait_timeout"), strings.Contains(message, "statement pooling mode"):
		return errs.Resource, endedByProxy
	case pg.Code.Class() == "53":
		return errs.Resource, "the server allows no more connections: raise its max_connections, or lower the pools"
	case pg.Code == "57P03":
		return errs.Resource, "the server is starting or stopping: try again in a moment"
	}
	return errs.Resource, "see the server's answer"
}

// advice is the next step after an error before any answer.
func (c *connector) advice(cause error) string {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		validity  x509.CertificateInvalidError
		alert     tls.AlertError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.Is(cause, signin.ErrReadable):
		return "it was not sent. On the server, set password_encryption = 'scram-sha-256', give the role its password again (ALTER ROLE … PASSWORD), and write scram-sha-256 " +
			"into pg_hba.conf (PgBouncer: auth_type = scram-sha-256); or write sslmode=verify-full into the URL"
	case errors.Is(cause, pq.ErrSSLNotSupported):
		return "the server speaks no TLS: switch it on there (ssl = on, with a certificate), or reach a server on this machine as localhost or by its Unix socket"
	case errors.As(cause, &authority):
		return "this machine does not know who signed the server's certificate: name the authority's file as sslrootcert=FILE in the URL"
	case errors.As(cause, &name):
		return "the server's certificate is for another name: write the host as the certificate has it (hostaddr may give its address)"
	case errors.As(cause, &validity):
		return "the server's certificate is not valid now: renew it, or set this machine's clock"
	case errors.As(cause, &record):
		return "what listens there speaks no TLS: is it PostgreSQL, and is that its port?"
	case errors.As(cause, &alert), strings.Contains(cause.Error(), "remote error: tls"):
		return "the server ended the TLS handshake: check sslcert and sslkey, and its ssl_min_protocol_version"
	case errors.As(cause, &dns) && dns.IsNotFound:
		return "there is no such host: check its name in the URL, and that this machine's DNS knows it"
	case errors.As(cause, &dns):
		return "the host's name could not be looked up: check this machine's DNS"
	case errors.Is(cause, fs.ErrNotExist) && socket(c.Host):
		return "there is no socket: is the server running, and is this its unix_socket_directories and port?"
	case errors.Is(cause, fs.ErrPermission) && socket(c.Host):
		return "this process's user may not use the socket: see the rights of its folder"
	case errors.Is(cause, syscall.ECONNREFUSED):
		return "nothing listens there: is the server running, and is that its address and port?"
	case errors.Is(cause, syscall.EHOSTUNREACH), errors.Is(cause, syscall.ENETUNREACH):
		return "no way leads there from this machine: check the address, the network and the firewall"
	case errors.Is(cause, context.DeadlineExceeded), os.IsTimeout(cause):
		return "nothing answered in " + c.ConnectTimeout.String() + ": check the address and the firewall, or the pool of a proxy such as PgBouncer that stands there (default_pool_size)"
	case errors.Is(cause, driver.ErrBadConn):
		return endedByProxy
	case errors.Is(cause, io.EOF), errors.Is(cause, io.ErrUnexpectedEOF), errors.Is(cause, syscall.ECONNRESET):
		return "the connection was closed without an answer: is it PostgreSQL that listens there? (A proxy may want sslnegotiation=direct.)"
	case strings.Contains(cause.Error(), "session is read-only"), strings.Contains(cause.Error(), "hot standby"):
		return "target_session_attrs asks for the primary: name it, or all servers, in the URL"
	case strings.Contains(cause.Error(), "unknown authentication response"):
		return "the server asks for a way to sign in that the driver does not know: use scram-sha-256 or a certificate in its pg_hba.conf"
	}
	return "is the server running, and is that its address?"
}

// endedByProxy is the error for a session that was closed while in use. lib/pq does not
// report the reason that the other side gave.
const endedByProxy = "the session was ended in the middle. The server was restarted, or a proxy such as PgBouncer stands there: its pool_mode must be session, " +
	"its default_pool_size and max_client_conn at least the connections that the program opens; or lower database.max_conns_per_module"

func socket(host string) bool { return filepath.IsAbs(host) || strings.HasPrefix(host, "@") }

// where names the server, or all servers that are tried, as an operator would write them.
func (c *connector) where() string {
	var all []string
	for _, h := range append([]pq.ConfigMultihost{{Host: c.Host, Hostaddr: c.Hostaddr, Port: c.Port}}, c.Multi...) {
		port := strconv.Itoa(int(h.Port))
		switch {
		case h.Hostaddr.IsValid():
			all = append(all, net.JoinHostPort(h.Hostaddr.String(), port))
		case socket(h.Host):
			all = append(all, "the socket in "+h.Host+" (port "+port+")")
		default:
			all = append(all, net.JoinHostPort(h.Host, port))
		}
	}
	return strings.Join(all, ", ")
}
