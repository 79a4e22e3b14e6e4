package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/config"
	"millrace/platform/errs"
)

// The variables that Kubernetes derives from services, as they appear in a pod.
func TestVariables_IgnoreKubernetesServiceLinks(t *testing.T) {
	t.Parallel()
	for _, service := range []string{"MILLRACE", "MILLRACE_PAYMENT", "MILLRACE_POSTGRES", "MILLRACE_KAFKA_0", "MILLRACE_MAIL_SMTP", "MILLRACE_HTTP"} {
		c, err := config.Load("", []string{
			service + "_SERVICE_HOST=10.96.0.12", service + "_SERVICE_PORT=8080", service + "_SERVICE_PORT_HTTP=8080", service + "_SERVICE_PORT_GRPC_WEB=8081",
			service + "_PORT=tcp://10.96.0.12:8080", service + "_PORT_8080_TCP=tcp://10.96.0.12:8080", service + "_PORT_8080_TCP_PROTO=tcp",
			service + "_PORT_8080_TCP_PORT=8080", service + "_PORT_8080_TCP_ADDR=10.96.0.12",
			service + "_PORT_53_UDP=udp://[fd00::1]:53", service + "_PORT_53_UDP_ADDR=fd00::1", service + "_PORT_53_UDP_PROTO=udp", service + "_PORT_53_UDP_PORT=53",
		})
		require.NoError(t, err, service)
		require.Equal(t, config.Default(), c, service)
	}
	_, err := config.Load("", []string{"MILLRACE_POSTGRES_PASSWORD=secret", "MILLRACE_TEST_DATABASE_URL=x", "MILLRACE_CONFIG=x", "MILLRACE_MAIL_SMTP_PORT=2525"})
	require.NoError(t, err)
}

func TestVariables_SuggestNameForTypo(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{
		"MILLRACE_PORT=8080":                      "MILLRACE_HTTP_ADDRESS?",
		"MILLRACE_HOST=0.0.0.0":                   "MILLRACE_HTTP_ADDRESS?",
		"MILLRACE_HTTP_ADDRSS=x":                  "MILLRACE_HTTP_ADDRESS?",
		"MILLRACE_HTTPADDRESS=x":                  "MILLRACE_HTTP_ADDRESS?",
		"MILLRACE_DATABASE_URI=canary":            "MILLRACE_DATABASE_URL?",
		"MILLRACE_DB_URL=canary":                  "MILLRACE_DATABASE_URL?",
		"MILLRACE_SMTP_HOST=x":                    "MILLRACE_MAIL_SMTP_HOST?",
		"MILLRACE_LOGLEVEL=x":                     "MILLRACE_LOG_LEVEL?",
		"MILLRACE_PAYMENT_CALLBACK_SECRET=canary": "MILLRACE_PAYMENT_CALLBACK_SECRETS?",
		"MILLRACE_SERVICE_HOST=canary":            "no setting",
		"MILLRACE_SERVICE_PORT=http":              "no setting",
		"MILLRACE_PORT_8080_TCP=8080":             "no setting",
		"MILLRACE_NOTHING_LIKE_IT=canary":         "no setting has this name; `millrace config`",
		"millrace_http_address=x":                 "MILLRACE_HTTP_ADDRESS",
	} {
		_, err := config.Load("", []string{variable})
		require.ErrorContains(t, err, want, variable)
		require.Equal(t, errs.Invalid, errs.KindOf(err))
		require.NotContains(t, err.Error(), "canary")
	}
}

func TestVariables_LibpqVariablesCompleteDatabaseURL(t *testing.T) {
	t.Parallel()
	environ := []string{"PGPASSWORD=canary", "PGSSLMODE=disable", "PGHOSTADDR=203.0.113.1", "PGSERVICE=x", "PGGSSENCMODE=require", "PGTARGETSESSIONATTRS=standby"}
	c, err := config.Load("", environ)
	require.NoError(t, err)
	require.Equal(t, config.Default(), c, "libpq variables do not apply to the embedded server")

	c, err = config.Load("", append(environ, "DATABASE_URL=postgres://u@h/d", "MILLRACE_DATABASE_PARTS=postgres://u@h/e,postgres://u:p@h/f?sslmode=require"))
	for _, name := range []string{"PGHOSTADDR: ", "PGSERVICE: ", "PGGSSENCMODE: ", "PGTARGETSESSIONATTRS: "} {
		require.ErrorContains(t, err, name)
	}
	require.NotContains(t, err.Error(), "PGPASSWORD")
	require.NotContains(t, err.Error(), "canary")
	require.Equal(t, "postgres://u:canary@h/d?sslmode=disable", c.Database.URL.Reveal())
	require.Equal(t, []config.Secret{"postgres://u:canary@h/e?sslmode=disable", "postgres://u:p@h/f?sslmode=require"}, c.Database.Parts)
	require.NotContains(t, c.Redacted(), "canary")
}
