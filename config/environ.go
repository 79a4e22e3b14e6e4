package config

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Environ is c as the environment variables of another process of this program,
// secrets included: Load reads the same from them. An empty value is no value
// there: it is the default, as always.
func (c Config) Environ() []string {
	var all []string
	for _, s := range settingsOf(&c) {
		all = append(all, s.variable()+"="+plain(s.field))
	}
	return all
}

// plain is a field as assign takes it.
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
		return field.String() // a secret too
	}
	return fmt.Sprint(field.Interface())
}
