package config

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"millrace/platform/errs"
)

const (
	prefix   = "MILLRACE_"
	plainURL = "DATABASE_URL" // the name that other programs and many hosting services use
)

// reserved are our variables that are not settings: those of the command line,
// the compose file and the tests.
var reserved = []string{prefix + "CONFIG", prefix + "POSTGRES_PASSWORD", prefix + "TEST_DATABASE_URL"}

// variables returns the values that the environment sets, by the setting's
// name, and the faults.
func variables(environ []string, settings []setting) (map[string]value, []error) {
	known := map[string]string{}
	var names []string
	for _, s := range settings {
		known[s.variable()] = s.name
		names = append(names, s.variable())
	}
	values, faults := map[string]value{}, []error(nil)
	for _, item := range environ {
		variable, text, _ := strings.Cut(item, "=")
		setting, ours := known[variable]
		switch {
		case variable == plainURL:
			if _, already := values["database.url"]; text != "" && !already {
				values["database.url"] = value{text: text} // the more specific name takes precedence
			}
		case isServiceLink(variable, text), slices.Contains(reserved, variable):
		case ours:
			if text != "" {
				values[setting] = value{text: text}
			}
		case known[strings.ToUpper(variable)] != "":
			faults = append(faults, errs.InvalidField(variable, "is written in capitals: %s", strings.ToUpper(variable)))
		case strings.HasPrefix(variable, prefix):
			faults = append(faults, errs.InvalidField(variable, "no setting has this name%s; `millrace config` lists them all", suggestion(variable, names)))
		}
	}
	return values, faults
}

// Kubernetes describes each service of the namespace to a container in
// variables that begin with the service's name. They begin with our prefix if a
// service is called millrace or millrace-something.
var (
	linkToPort    = regexp.MustCompile(`^MILLRACE(_[A-Z0-9_]+)?_PORT(_[0-9]+_(TCP|UDP|SCTP))?$`)
	linkToAddress = regexp.MustCompile(`^MILLRACE(_[A-Z0-9_]+)?(_SERVICE_HOST|_PORT_[0-9]+_(TCP|UDP|SCTP)_ADDR)$`)
	linkToNumber  = regexp.MustCompile(`^MILLRACE(_[A-Z0-9_]+)?(_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT_[0-9]+_(TCP|UDP|SCTP)_PORT)$`)
	linkToProto   = regexp.MustCompile(`^MILLRACE(_[A-Z0-9_]+)?_PORT_[0-9]+_(TCP|UDP|SCTP)_PROTO$`)
)

// isServiceLink recognizes such variables by name and value: MILLRACE_PORT=8080
// was set by a user who wants to set the port.
func isServiceLink(variable, text string) bool {
	switch {
	case linkToProto.MatchString(variable):
		return slices.Contains([]string{"tcp", "udp", "sctp"}, text)
	case linkToAddress.MatchString(variable):
		return net.ParseIP(text) != nil
	case linkToNumber.MatchString(variable):
		n, err := strconv.Atoi(text)
		return err == nil && n > 0 && n < 65536
	case linkToPort.MatchString(variable): // tcp://10.0.0.1:80
		u, err := url.Parse(text)
		return err == nil && slices.Contains([]string{"tcp", "udp", "sctp"}, u.Scheme) && net.ParseIP(u.Hostname()) != nil && u.Port() != ""
	}
	return false
}

// guessed maps names that other programs use to our settings.
var guessed = map[string]string{
	"port": "http_address", "host": "http_address", "addr": "http_address", "listen": "http_address", "http_port": "http_address", "http_host": "http_address",
	"db_url": "database_url", "postgres_url": "database_url", "dsn": "database_url", "env": "environment", "smtp_url": "mail_smtp_host",
	"database_host": "database_url", "database_port": "database_url", "database_user": "database_url", "database_password": "database_url", "database_name": "database_url",
}

// suggestion returns the name that was probably meant, as the end of a
// sentence; else "".
func suggestion(name string, names []string) string {
	plain := func(name string) string {
		return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), ".", "_")
	}
	wanted := plain(name)
	best, least := "", 0
	for _, candidate := range names {
		have := plain(candidate)
		far := distance(wanted, have)
		switch {
		case guessed[wanted] == have, strings.ReplaceAll(wanted, "_", "") == strings.ReplaceAll(have, "_", ""):
			far = 0
		case strings.HasSuffix(have, "_"+wanted):
			far = min(far, 2)
		}
		if far <= max(2, len(wanted)/4) && (best == "" || far < least) {
			best, least = candidate, far
		}
	}
	if best == "" {
		return ""
	}
	return " (" + best + "?)"
}

// distance returns how many letters must be inserted, deleted or replaced.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := before
			if a[i] != b[j] {
				changed++
			}
			before = row[j+1]
			row[j+1] = min(changed, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
