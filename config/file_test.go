package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/config"
)

func TestFile_KeepsTextAsWritten(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"0123", "1e5", "1.10", "2026-11-29", "0x10", "1_000", ".inf", "yes", "no", "true", "12:30:45", "0o17", "1.0", "-", "+5", "pa$$ word"} {
		c, err := config.Load(write(t, "mail:\n  smtp:\n    user: "+text+"\n    password: "+text+"\nkafka:\n  brokers: ["+text+", '"+text+"']\n"), nil)
		if text == "-" { // a sign with a meaning in YAML
			require.ErrorIs(t, err, config.ErrUnread)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, text, c.Mail.SMTP.User)
		require.Equal(t, text, c.Mail.SMTP.Password.Reveal())
		require.Equal(t, []string{text, text}, c.Kafka.Brokers)
	}
	for _, quoted := range []string{`"~"`, `'null'`, `"&a"`, `'*a'`, `"!a"`, `"@a"`} {
		c, err := config.Load(write(t, "mail: {smtp: {password: "+quoted+"}}\n"), nil)
		require.NoError(t, err, quoted)
		require.Equal(t, quoted[1:len(quoted)-1], c.Mail.SMTP.Password.Reveal())
	}
}

func TestFile_RequiresQuotesWhereYAMLChangesTheValue(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"null", "~", "Null", "&canary", "&canary x", "*canary", "!canary", "!canary x", "!!binary canary", "@canary", "%canary", "`canary"} {
		_, err := config.Load(write(t, "# one\nmail:\n  smtp:\n    password: "+text+"\n"), nil)
		require.ErrorContains(t, err, "in quotes", text)
		require.NotContains(t, err.Error(), "canary", text)
	}
	_, err := config.Load(write(t, "# one\nmail:\n  smtp:\n    password: ~\n"), nil)
	require.ErrorContains(t, err, "mail.smtp.password: ")
	require.ErrorContains(t, err, "line 4")
	_, err = config.Load(write(t, "kafka:\n  brokers:\n    - a:1\n    - ~\n"), nil)
	require.ErrorContains(t, err, "kafka.brokers: ")
	require.ErrorContains(t, err, "line 4")
}

func TestFile_AcceptsOneNotationOfNumbersAndBooleans(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"mail: {smtp: {port: 0587}}":      "mail.smtp.port: must be a whole number",
		"mail: {smtp: {port: 0x24b}}":     "mail.smtp.port: must be a whole number",
		"mail: {smtp: {port: 5_87}}":      "mail.smtp.port: must be a whole number",
		"mail: {smtp: {port: 5e2}}":       "mail.smtp.port: must be a whole number",
		"bus: {workers: 3.0}":             "bus.workers: must be a whole number",
		"kafka: {tls: {enabled: yes}}":    "kafka.tls.enabled: must be true or false",
		"bus: {lease_ttl: 2}":             "bus.lease_ttl: must be a duration",
		"bus: {backoff: [1s, 2]}":         "bus.backoff: item 2 must be a duration",
		"mail: {from: {name: Shop}}":      "mail.from: must be one value",
		"mail: {from: [a@b.c]}":           "mail.from: must be one value",
		"modules: {payment: true}":        "modules: must be a list",
		"modules: [[payment]]":            "modules: has an item that is not one value",
		"http: 8080":                      "http: is a section",
		"http: [8080]":                    "http: is a section",
		"modules: [payment]\nmodules: []": "modules: is set twice",
		"http: {address: a}\nhttp: {}":    "http: is set twice",
		"http: {address: a, address: b}":  "http.address: is set twice",
		"htpp:\n  addrss: x":              "htpp.addrss: no setting has this name (http.address?)",
		"HTTP: {address: x}":              "no setting has this name (http.address?)",
		"database: {uri: x}":              "database.uri: no setting has this name (database.url?)",
		"nothing_like_it: x":              "nothing_like_it: no setting has this name; `millrace config`",
	} {
		_, err := config.Load(write(t, line+"\n"), nil)
		require.ErrorContains(t, err, want, line)
		require.ErrorContains(t, err, "line ", line)
		require.NotErrorIs(t, err, config.ErrUnread)
	}
	c, err := config.Load(write(t, "base: &base\n"), nil)
	require.Error(t, err)
	require.Equal(t, config.Default(), c)
}

func TestFile_AcceptsEditorVariantsAndRejectsInvalidFiles(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "# nothing\n", "---\n", "\ufeffdata_dir: x\r\n", "data_dir: x", "---\ndata_dir: x\n...\n", "data_dir: x\r\nmail:\r\n", "data_dir: &here x\nmail:\n  from: *here\n"} {
		c, err := config.Load(write(t, content), nil)
		if content[max(0, len(content)-6):] == "*here\n" {
			require.ErrorContains(t, err, "in quotes")
			continue
		}
		require.NoError(t, err, content)
		if len(content) > 12 {
			require.Equal(t, "x", c.DataDir, content)
		}
	}
	for content, want := range map[string]string{
		"mail:\n\tfrom: x\n":                       "not with tabs",
		"data_dir: x\n---\ndata_dir: y\n":          "another document",
		"data_dir: x\nmail: {from: caf\xe9@x.y}\n": "line 2 is not UTF-8",
		"\xff\xfed\x00":                            "line 1 is not UTF-8",
		"- data_dir\n":                             "line 1 is no setting",
		"data_dir\n":                               "line 1 is no setting",
		"mail: {smtp: {password: a: canary}}\n":    "in quotes",
		"a: [\n":                                   "configuration file",
	} {
		_, err := config.Load(write(t, content), nil)
		require.ErrorIs(t, err, config.ErrUnread, content)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "canary")
	}
	_, err := config.Load(t.TempDir(), nil)
	require.ErrorIs(t, err, config.ErrUnread)
}
