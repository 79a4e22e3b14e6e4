package pgurl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ignored are parameters that are accepted and change nothing: the program already does what
// they ask for, or they are hints for other libraries.
var ignored = []string{
	"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "sslcompression", "fallback_application_name",
	"krbsrvname", "krbspn", "gsslib", "gssdelegation", "tz", "timezone", "geqo", "localedir", // every session uses UTC
	"pgbouncer", "uselibpqcompat", "supa", // Open detects a proxy that pools by transaction
	"applicationname",
}

// refused are parameters that cannot be supported, and what to do instead.
var refused = map[string]string{
	"service":             "is not supported: write the settings of its section of the service file into the URL",
	"servicefile":         "is not supported: write the settings of the service file into the URL",
	"require_auth":        "cannot be honoured, for the driver does not choose how it signs in: take it out",
	"requirepeer":         "cannot be honoured by the driver: take it out, and close the socket's folder to others",
	"sslcrl":              "cannot be honoured, for the driver reads no revocation lists: take it out",
	"sslcrldir":           "cannot be honoured, for the driver reads no revocation lists: take it out",
	"sslpassword":         "cannot be honoured: store the client's key without a passphrase, readable for this program's user only",
	"ssl_mode":            "is another library's: write sslmode",
	"tls":                 "is another library's: write sslmode",
	"ssl_ca":              "is another library's: write sslrootcert",
	"sslaccept":           "is Prisma's: write sslmode=verify-full, with sslrootcert if the authority is not one of the system's",
	"sslidentity":         "is Prisma's: write sslcert and sslkey",
	"sslfactory":          "is JDBC's: write sslmode=verify-full",
	"sslhostnameverifier": "is JDBC's: write sslmode=verify-full",
	"currentschema":       "is JDBC's, and each module has a schema of its own here: take it out",
	"targetservertype":    "is JDBC's: write target_session_attrs=read-write",
	"connecttimeout":      "is JDBC's: write connect_timeout, in seconds",
	"logintimeout":        "is JDBC's: write connect_timeout, in seconds",
	"replication":         "makes no ordinary session: take it out",
	"sslkeylogfile":       "would write down the session's keys: take it out",
}

// foreign are parameters of other libraries, by topic.
var foreign = map[string][]string{
	"sets the size of another library's pool: take it out, and set database.max_conns_per_module": {
		"connection_limit", "pool_size", "poolsize", "pool_timeout", "max_pool_size", "maxpoolsize", "min_pool_size", "minpoolsize", "maximumpoolsize",
		"pool_max_conns", "pool_min_conns", "pool_max_conn_lifetime", "pool_max_conn_idle_time", "pool_health_check_period",
		"pool", "reserve_pool_size", "default_pool_size", "max_overflow", "pool_recycle", "pool_pre_ping", "pooling",
	},
	"is another library's, about its prepared statements: take it out (a proxy must pool by session here)": {
		"statement_cache_size", "prepared_statement_cache_size", "prepared_statements", "preparethreshold", "preparedstatementcachequeries",
		"default_query_exec_mode", "statement_cache_mode", "statement_cache_capacity", "description_cache_capacity", "prefer_simple_protocol", "max_auto_prepare",
	},
	"is another library's: take it out (a statement's time is statement_timeout, in milliseconds)": {
		"socket_timeout", "sockettimeout", "command_timeout", "query_timeout", "cancelsignaltimeout",
	},
	"is another library's: take it out": {
		"encoding", "charset", "stringtype", "autosave", "loglevel", "loggerlevel", "tcpkeepalive", "binarytransfer", "rewritebatchedinserts",
		"async_fallback", "server_settings", "parsetime", "loc", "serverversion",
	},
}

// anothers reports whether a parameter belongs to another library.
func anothers(name string) bool {
	if refused[name] != "" {
		return true
	}
	for _, names := range foreign {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// choices are the allowed values of a parameter.
var choices = map[string][]string{
	"sslmode":                  {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
	"sslnegotiation":           {"postgres", "direct"},
	"load_balance_hosts":       {"disable", "random"},
	"min_protocol_version":     {"3.0", "3.2", "latest"},
	"max_protocol_version":     {"3.0", "3.2", "latest"},
	"ssl_min_protocol_version": {"TLSv1.2", "TLSv1.3"},
	"ssl_max_protocol_version": {"TLSv1.2", "TLSv1.3"},
	"sslsni":                   {"0", "1"},
	"target_session_attrs":     {"any", "read-write", "primary"}, // the program must be able to write
	"ssl":                      {"true", "false", "1", "0", "require", "disable"},
	"channel_binding":          {"disable", "prefer", "require"},
	"gssencmode":               {"disable", "prefer"},
	"sslcertmode":              {"disable", "allow"},
	"schema":                   {"public"},
	"pool_mode":                {"session"},
	"requiressl":               {"0", "1"},
}

// instead is what to do about a value that is not allowed.
var instead = map[string]string{
	"sslmode":              "write verify-full, with sslrootcert=FILE if the authority is not one of the system's",
	"target_session_attrs": "the program writes, so it needs the primary",
	"ssl":                  "write sslmode=verify-full",
	"gssencmode":           "the driver does not encrypt by GSSAPI: take it out, and use sslmode=verify-full",
	"sslcertmode":          "take it out",
	"schema":               "each module has a schema of its own here: take it out",
	"pool_mode":            "prepared statements, settings and LISTEN need a session of one's own: connect to PostgreSQL itself, or to a proxy with pool_mode=session",
}

// accepted returns the value for lib/pq, or "" if the parameter changes nothing.
func accepted(name, value string) (string, error) {
	if value == "" || slices.Contains(ignored, name) {
		return "", nil
	}
	if advice := refused[name]; advice != "" {
		if name == "replication" && slices.Contains([]string{"false", "off", "no", "0"}, value) {
			return "", nil
		}
		return "", errors.New("the parameter " + name + " " + advice)
	}
	for advice, names := range foreign {
		if slices.Contains(names, name) {
			return "", errors.New("the parameter " + name + " " + advice)
		}
	}
	if allowed := choices[name]; allowed != nil && !slices.Contains(allowed, value) {
		problem := fmt.Sprintf("the parameter %s has a value that is none of %s", name, strings.Join(allowed, ", "))
		if advice := instead[name]; advice != "" {
			problem += ": " + advice
		}
		return "", errors.New(problem)
	}
	switch name {
	case "gssencmode", "sslcertmode", "schema", "pool_mode":
		return "", nil // the remaining values ask for nothing
	case "connect_timeout":
		if n, err := strconv.Atoi(value); err != nil || n < 0 || n > 3600 {
			return "", errors.New("the parameter connect_timeout is no number of seconds from 0 to 3600, as 10")
		}
	case "hostaddr":
		for address := range strings.SplitSeq(value, ",") {
			if _, err := netip.ParseAddr(address); address != "" && err != nil {
				return "", errors.New("the parameter hostaddr is no IP address: a name is written as host")
			}
		}
	case "client_encoding":
		if plain := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(value)); plain != "utf8" && plain != "unicode" && plain != "auto" {
			return "", errors.New("the parameter client_encoding must be UTF8, which it is without it: take it out")
		}
		return "", nil
	case "datestyle":
		if strings.ReplaceAll(strings.ToUpper(value), " ", "") != "ISO,MDY" && !strings.EqualFold(value, "ISO") {
			return "", errors.New(`the parameter datestyle must be "ISO, MDY", which it is without it: take it out`)
		}
		return "", nil
	}
	return value, nil
}

// secured converts other libraries' TLS parameters to sslmode.
func (u URL) secured() error {
	weak := []string{"disable", "allow", "prefer"}
	for _, name := range []string{"ssl", "requiressl"} {
		value := u.parameters[name]
		delete(u.parameters, name)
		mode := u.parameters["sslmode"]
		switch asks := slices.Contains([]string{"true", "1", "require"}, value); {
		case value == "" || name == "requiressl" && !asks:
		case mode == "" && asks:
			u.parameters["sslmode"] = "require"
		case mode == "":
			u.parameters["sslmode"] = "disable"
		case asks == slices.Contains(weak, mode):
			return errors.New(name + " and sslmode contradict each other: keep sslmode")
		}
	}
	mode := u.parameters["sslmode"]
	if u.parameters["channel_binding"] == "require" && mode != "verify-full" {
		return errors.New("the parameter channel_binding=require cannot be honoured by the driver: write sslmode=verify-full, which proves the server's identity, too, and take it out")
	}
	delete(u.parameters, "channel_binding")
	if u.parameters["sslrootcert"] == "system" && mode != "" && mode != "verify-full" {
		return errors.New("sslrootcert=system needs sslmode=verify-full: anybody has a certificate of some public authority")
	}
	if u.parameters["sslnegotiation"] == "direct" && slices.Contains(weak, mode) {
		return errors.New("sslnegotiation=direct needs sslmode=verify-full, or another mode that always encrypts")
	}
	return nil
}
