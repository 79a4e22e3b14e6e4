package config

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every setting reaches the other process, including settings added later.
func TestEnviron_LoadsTheSameConfiguration(t *testing.T) {
	t.Parallel()
	var want Config
	var fill func(field reflect.Value)
	fill = func(field reflect.Value) {
		switch field.Kind() {
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 2, 2))
			fill(field.Index(0))
			fill(field.Index(1))
		case reflect.String:
			field.SetString("some text=1")
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Uint64:
			field.SetUint(90061)
		default:
			field.SetInt(90061)
		}
	}
	for _, s := range settingsOf(&want) {
		fill(s.field)
	}
	got, err := Load("", want.Environ())
	require.NoError(t, err)
	require.Equal(t, want, got)
}
