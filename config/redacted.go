package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Redacted prints c as the YAML file that would give it, each setting with the
// name of its variable. Secrets show that they are set, URLs lose their
// password: what is printed may be shown to others.
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

func indent(depth int) string { return strings.Repeat("  ", depth) }

func show(name string, field reflect.Value) string {
	switch value := field.Interface().(type) {
	case time.Duration:
		return value.String()
	case Secret:
		if value != "" && (name == "database.url" || name == "database.parts") {
			return strconv.Quote(redactURL(value.Reveal()))
		}
		return strconv.Quote(value.String())
	case string:
		if strings.HasSuffix(name, "url") && value != "" {
			value = redactURL(value)
		}
		return strconv.Quote(value)
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
