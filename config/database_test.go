package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/config"
)

func TestDatabaseParts_SplitAtCommasBetweenAddresses(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]config.Secret{
		"postgres://u:p@a/d, postgres://u:p@b/d":                                 {"postgres://u:p@a/d", "postgres://u:p@b/d"},
		"postgres://u:can,ary,x@a/d,postgres://u:p@b/d":                          {"postgres://u:can%2Cary%2Cx@a/d", "postgres://u:p@b/d"},
		"postgres://u:p@a,b:5433/d,postgres://u:p@c/d":                           {"postgres://u:p@/d?host=a%2Cb&port=5432%2C5433", "postgres://u:p@c/d"},
		"postgres://u:p@a/d?host=&options=-c%20a%3D1%2C2,/run/b.url":             {"postgres://u:p@a/d?options=-c+a%3D1%2C2", "/run/b.url"},
		"postgres:///d?host=a,b&port=5432,5433&user=u&password=x,/y,.data/b.url": {"postgres://u:x%2C%2Fy%2C.data%2Fb.url@/d?host=a%2Cb&port=5432%2C5433"},
		"postgres://u:p@a/d\r\npostgres://u:p@b/d\n":                             {"postgres://u:p@a/d", "postgres://u:p@b/d"},
		"/run/a.url,postgres://u@b/d,.data/c/database.url":                       {"/run/a.url", "postgres://u@b/d", ".data/c/database.url"},
		"postgres://u:p,w@a/d":                                                   {"postgres://u:p%2Cw@a/d"},
		"postgres://u:p%2Cq@h/m,b.txt":                                           {"postgres://u:p%2Cq@h/m", "b.txt"},
	} {
		c, err := config.Load("", []string{"MILLRACE_DATABASE_PARTS=" + list})
		require.NoError(t, err)
		require.Equal(t, want, c.Database.Parts, list)
		require.NoError(t, c.Validate(modules), list)
		again, err := config.Load("", c.Environ())
		require.NoError(t, err)
		require.Equal(t, want, again.Database.Parts, "another process loads the same configuration")
	}
}

func TestDatabaseParts_ErrorsDoNotContainPasswords(t *testing.T) {
	t.Parallel()
	for _, list := range []string{
		"postgres://u:p/can,canary@a/d", "postgres://u:x@a/d?password=can,canary&user=v", "host=a password=can,canary", "u:can,canary@b/d",
		"postgres://u:can,canary", "postgres://u:12?,canary@h/d", "mysql://u:canary@a/d", "postgresql+psycopg://u:canary@a/d,canary@b",
		"'postgres://u:canary@a/d,postgres://u:canary@b/d'", "postgres://u:%zzcanary@a/d",
	} {
		for _, variable := range []string{"MILLRACE_DATABASE_PARTS=", "DATABASE_URL="} {
			c, err := config.Load("", []string{variable + list})
			text := c.Redacted()
			for _, e := range []error{err, c.Validate(modules)} {
				if e != nil {
					text += e.Error()
				}
			}
			require.NotContains(t, text, "canary", list)
			require.Error(t, c.Validate(modules), list)
		}
	}
}

func TestProduction_ChecksTheDriversEffectiveSettings(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://u:p@h/d", "postgres://u:p@h1,h2/d", "postgres://u:p@h/d?sslmode=require", "postgres://u@/d?host=/run/a,h&sslmode=verify-full", "postgres://u@/d?host=/run/a&hostaddr=10.0.0.1"} {
		for _, set := range []func(*config.Config){
			func(c *config.Config) { c.Database.URL = config.Secret(url) },
			func(c *config.Config) { c.Database.Parts = []config.Secret{config.Secret(url)} },
		} {
			c := production()
			set(&c)
			require.ErrorContains(t, c.Validate(modules), "database.", url)
			c.Environment = config.Development
			require.NoError(t, c.Validate(modules), url)
		}
	}
	for _, mode := range []string{"disable", "allow", "prefer", "require", "verify-ca"} {
		c, err := config.Load("", []string{"DATABASE_URL=postgres://u:p@h/d", "PGSSLMODE=" + mode})
		require.NoError(t, err)
		p := production()
		p.Database.URL = c.Database.URL
		require.ErrorContains(t, p.Validate(modules), "database.url: sslmode="+mode+", in the URL or from PGSSLMODE")
	}
	c, err := config.Load("", []string{"DATABASE_URL=postgres://u:p@h/d", "PGSSLMODE=verify-full"})
	require.NoError(t, err)
	p := production()
	p.Database.URL = c.Database.URL
	require.NoError(t, p.Validate(modules))
	p.Database.URL = "postgres://u@/d?host=/run/postgresql"
	require.NoError(t, p.Validate(modules), "a Unix socket needs no encryption")
	require.ErrorContains(t, p.CheckDatabase("database.parts", "postgres://u:p@h/d?sslmode=disable\n"), "database.parts: sslmode=disable")
	require.NoError(t, p.CheckDatabase("database.parts", "postgres://u:p@h/d?sslmode=verify-full\n"))
}

func TestValidate_AcceptsOnlyReachableHTTPURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://localhost/callbacks/gateway", "http://127.0.0.1/callbacks/gateway", "http://[::1]/cb", "http://127.0.0.1:8080/callbacks/gateway", "HTTP://localhost/callbacks/gateway?shop=1"} {
		c := config.Default()
		c.Payment.CallbackURL = url
		require.NoError(t, c.Validate(modules), url)
	}
	for _, url := range []string{"https://pg.example", "https://pg.example/v1/", "https://pg.example:8443/v1?key=1", "https://user:key@pg.example"} {
		c := config.Default()
		c.Payment.Gateway.URL, c.Payment.Secrets = url, []config.Secret{randomSecret(32)}
		require.NoError(t, c.Validate(modules), url)
	}
	for url, want := range map[string]string{
		"canary.example/callbacks/gateway": "no scheme", "localhost:8080/canary": "no scheme", "//canary/x": "no scheme: ", "ftp://canary/x": "http or https",
		"http:///canary": "", "http://": "names no host", "http://h:/canary": "port", "http://h:70000/canary": "port", "http://h:0/canary": "port", "http://h:8o/canary": "",
		" http://h/canary": "blanks", "http://h/canary ": "blanks", "http://h/a canary": "blank", "http://쇼핑.example/canary": "xn--",
		"http://h/canary#x": "#", "\"http://h/canary\"": "quote", "http://u:canary@h/x": "contains a user", "https://shop.example": "no path",
		"https://shop.example/": "no path", "https://shop.example/canary/": "slash", "https://shop.example/callbacks/gateway": "the simulator calls back here only",
	} {
		c := config.Default()
		c.Payment.CallbackURL = url
		err := c.Validate(modules)
		require.ErrorContains(t, err, "payment.callback_url: ", url)
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "canary")
	}
	for _, item := range []string{"http://u:canary@h", "payment=http://u:canary@h", "payment=http://h:", "payment=http://h/#x", "payment=h:80"} {
		c := config.Default()
		c.Proxy.Modules = []string{item}
		require.ErrorContains(t, c.Validate(modules), "proxy.modules: ", item)
		require.NotContains(t, c.Validate(modules).Error()+c.Redacted(), "canary")
	}
	for _, host := range []string{"smtp://u:canary@mail.example:587", "mail.example:587", "u:canary@mail.example", " mail.example", "mail.example\n", "메일.example", "mail.example/"} {
		c := config.Default()
		c.Mail.SMTP.Host = host
		require.ErrorContains(t, c.Validate(modules), "mail.smtp.host: ", host)
		require.NotContains(t, c.Validate(modules).Error()+c.Redacted(), "canary")
	}
	for _, host := range []string{"mail", "mail.example", "127.0.0.1", "::1", "fd00::25", "mail_1"} {
		c := config.Default()
		c.Mail.SMTP.Host = host
		require.NoError(t, c.Validate(modules), host)
	}
	c := config.Default()
	c.Kafka.Brokers = []string{"SASL_SSL://u:canary@h:9092", "u:canary@h:9092"}
	require.Equal(t, 2, strings.Count(c.Validate(modules).Error(), "kafka.brokers: "))
	require.NotContains(t, c.Validate(modules).Error()+c.Redacted(), "canary")
}
