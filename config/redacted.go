package config

import (
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Redacted returns c as a YAML file with the name of each setting's variable.
// It shows only whether a secret is set and removes passwords from URLs, so the
// output may be shown to others.
func (c Config) Redacted() string {
	var out strings.Builder
	var section []string
	for _, s := range settingsOf(&c) {
		path := strings.Split(s.name, ".")
		last := len(path) - 1
		for depth := range last {
			if depth >= len(section) || section[depth] != path[depth] {
				fmt.Fprintf(&out, "%s%s:\n", indent(depth), path[depth])
				section = append(section[:depth:depth], path[depth])
			}
		}
		section = section[:last]
		line := indent(last) + path[last] + ": " + show(s.name, s.field)
		fmt.Fprintf(&out, "%-52s # %s\n", line, s.variable())
	}
	return out.String()
}

// LogValue returns Redacted's text for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.Redacted()) }

func indent(depth int) string { return strings.Repeat("  ", depth) }

func show(name string, field reflect.Value) string {
	switch value := field.Interface().(type) {
	case time.Duration:
		return value.String()
	case Secret:
		if value != "" && (name == "database.url" || name == "database.parts") {
			return strconv.Quote(redactDatabase(value.Reveal()))
		}
		return strconv.Quote(value.String())
	case string:
		return strconv.Quote(redactText(name, value))
	}
	if field.Kind() != reflect.Slice {
		return fmt.Sprint(field.Interface())
	}
	items := make([]string, field.Len())
	for i := range items {
		items[i] = show(name, field.Index(i))
	}
	return "[" + strings.Join(items, ", ") + "]"
}
