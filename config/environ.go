package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Environ returns c as environment variables for another process of this
// program. WARNING: it includes secrets. Load returns the same Config from
// them. An empty variable means the default.
func (c Config) Environ() []string {
	var all []string
	for _, s := range settingsOf(&c) {
		all = append(all, s.variable()+"="+plain(s.field))
	}
	return all
}

// plain formats a field in the form that assign accepts.
func plain(field reflect.Value) string {
	if field.Kind() == reflect.Slice {
		items := make([]string, field.Len())
		for i := range items {
			items[i] = plain(field.Index(i))
		}
		return strings.Join(items, ",")
	}
	if d, ok := field.Interface().(time.Duration); ok {
		return d.String()
	}
	if field.Kind() == reflect.String {
		return field.String() // also for a secret
	}
	return fmt.Sprint(field.Interface())
}
