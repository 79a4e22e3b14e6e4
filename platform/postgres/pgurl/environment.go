package pgurl

import (
	"maps"
	"os"
	"slices"
	"strings"

	"millrace/platform/errs"
)

// honoured are libpq's variables that provide a parameter if the URL lacks it.
var honoured = map[string]string{
	"PGUSER": "user", "PGPASSWORD": "password", "PGPASSFILE": "passfile", "PGOPTIONS": "options",
	"PGSSLMODE": "sslmode", "PGREQUIRESSL": "requiressl", "PGSSLCERT": "sslcert", "PGSSLKEY": "sslkey", "PGSSLROOTCERT": "sslrootcert",
	"PGSSLSNI": "sslsni", "PGSSLNEGOTIATION": "sslnegotiation",
	"PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version", "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
	"PGMINPROTOCOLVERSION": "min_protocol_version", "PGMAXPROTOCOLVERSION": "max_protocol_version",
	"PGCONNECT_TIMEOUT": "connect_timeout", "PGTARGETSESSIONATTRS": "target_session_attrs", "PGLOADBALANCEHOSTS": "load_balance_hosts",
	"PGCHANNELBINDING": "channel_binding", "PGGSSENCMODE": "gssencmode", "PGREQUIREAUTH": "require_auth", "PGREQUIREPEER": "requirepeer",
	"PGSSLCRL": "sslcrl", "PGSSLCRLDIR": "sslcrldir", "PGSSLCERTMODE": "sslcertmode",
}

// leading are the variables that would change the server, which only the URL may do.
var leading = map[string]string{"PGHOSTADDR": "hostaddr", "PGSERVICE": "service", "PGHOST": "host", "PGPORT": "port"}

// harmless are the other variables. They change nothing here: every session has its own
// application name, UTF8 and UTC, and the URL names the database.
var harmless = []string{
	"PGDATABASE", "PGAPPNAME", "PGCLIENTENCODING", "PGDATESTYLE", "PGTZ", "PGGEQO", "PGLOCALEDIR", "PGSYSCONFDIR", "PGSERVICEFILE",
	"PGKRBSRVNAME", "PGGSSLIB", "PGGSSDELEGATION", "PGREALM", "PGSSLCOMPRESSION",
	"SSLPGMINPROTOCOLVERSION", "SSLPGMAXPROTOCOLVERSION", // lib/pq's spelling
}

// Forget removes libpq's variables from this process's environment, because lib/pq reads them
// in addition to the URL, and fails on some that it does not support. Read the variables
// before, see [URL.Complete].
func Forget() {
	for _, names := range [][]string{slices.Collect(maps.Keys(honoured)), slices.Collect(maps.Keys(leading)), harmless} {
		for _, name := range names {
			if _, set := os.LookupEnv(name); set {
				_ = os.Unsetenv(name) // fails only for a name with "="
			}
		}
	}
}

// Complete returns u with the additions from the environment (in the form of os.Environ). Each
// error is about one variable, and names it as its field.
func (u URL) Complete(environ []string) (URL, []error) {
	set := map[string]string{}
	for _, item := range environ {
		if name, value, _ := strings.Cut(item, "="); value != "" {
			set[name] = value
		}
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(leading)) {
		switch value, parameter := set[name], leading[name]; {
		case value == "" || u.parameters[parameter] != "" || name == "PGPORT" && value == "5432":
		case name == "PGHOST" && u.parameters["hostaddr"] != "":
		case name == "PGSERVICE":
			faults = append(faults, errs.InvalidField(name, "would lead to another server than the URL: unset it, or write the settings of its section of the service file into the URL"))
		case name == "PGHOSTADDR":
			faults = append(faults, errs.InvalidField(name, "would lead to another server than the URL: unset it, or write it into the URL as ?hostaddr=…"))
		default:
			faults = append(faults, errs.InvalidField(name, "would fill in the %s that the URL leaves out: write it into the URL, as postgres://user:password@host:port/database, or unset it", parameter))
		}
	}
	done := URL{maps.Clone(u.parameters)}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(honoured)), func(name string) bool { return name == "PGSSLMODE" })
	for _, name := range append([]string{"PGSSLMODE"}, names...) { // the checks of others depend on it
		parameter := honoured[name]
		if set[name] == "" || done.parameters[parameter] != "" || parameter == "requiressl" && u.parameters["sslmode"]+set["PGSSLMODE"] != "" {
			continue
		}
		value, err := accepted(parameter, set[name])
		if err == nil && value != "" {
			alone := done.With(parameter, value)
			if err = alone.secured(); err == nil {
				done = alone
			}
		}
		if err != nil {
			faults = append(faults, errs.InvalidField(name, "%s; unset the variable, or correct it", err))
		}
	}
	return done, faults
}
