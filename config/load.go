package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"millrace/platform/errs"
)

const (
	prefix   = "MILLRACE_"
	plainURL = "DATABASE_URL" // what other programs and many hosts call it
)

// setting is one field of Config: its name, and the field itself.
type setting struct {
	name  string
	field reflect.Value
}

// variable is the setting's name in the environment.
func (s setting) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.name, ".", "_"))
}

// settingsOf lists every field of c, in the order of the struct.
func settingsOf(c *Config) []setting {
	var all []setting
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for i := range v.NumField() {
			name := path + v.Type().Field(i).Tag.Get("koanf")
			if field := v.Field(i); field.Kind() == reflect.Struct {
				walk(field, name+".")
			} else {
				all = append(all, setting{name, field})
			}
		}
	}
	walk(reflect.ValueOf(c).Elem(), "")
	return all
}

// Load reads the file, if a path is given, and the environment, in the form of
// os.Environ, over the defaults. It reports every value that cannot be read;
// what is read but not acceptable is for Validate, after flags have been set.
func Load(path string, environ []string) (Config, error) {
	config := Default()
	settings := settingsOf(&config)
	var faults []error

	values := koanf.New(".")
	if path != "" {
		if err := values.Load(file.Provider(path), yaml.Parser()); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return config, errs.New(errs.Invalid, "there is no configuration file %s", path)
			}
			return config, errs.New(errs.Invalid, "configuration file %s: %w", path, err)
		}
		faults = append(faults, unknownKeys(values, settings, path)...)
	}
	known := map[string]string{plainURL: "database.url"}
	for _, s := range settings {
		known[s.variable()] = s.name
	}
	provider := env.Provider("", env.Opt{
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(variable, value string) (string, any) {
			name, ok := known[variable]
			if !ok && strings.HasPrefix(variable, prefix) && !slices.Contains(reserved, variable) {
				faults = append(faults, errs.InvalidField(variable, "no setting has this name; `millrace config` lists them all"))
			}
			if value == "" || variable == plainURL && slices.ContainsFunc(environ, isOurURL) {
				return "", nil // not set, or said again by the more particular name
			}
			return name, value
		},
	})
	fromEnvironment, err := provider.Read()
	if err != nil {
		return config, errs.New(errs.Invalid, "environment: %w", err)
	}
	for name, value := range fromEnvironment {
		if err := values.Set(name, value); err != nil {
			return config, errs.New(errs.Invalid, "environment: %s: %w", name, err)
		}
	}
	for _, s := range settings {
		value := values.Get(s.name)
		if value == nil {
			continue
		}
		if err := assign(s.field, value); err != nil {
			faults = append(faults, errs.InvalidField(s.name, "%s", err))
		}
	}
	return config, errors.Join(faults...)
}

// reserved are variables of our own that are not settings.
var reserved = []string{prefix + "CONFIG"}

func isOurURL(variable string) bool {
	value, ours := strings.CutPrefix(variable, prefix+plainURL+"=")
	return ours && value != ""
}

// unknownKeys finds what the file sets and no setting has as its name. A
// section without content is fine.
func unknownKeys(values *koanf.Koanf, settings []setting, path string) []error {
	var faults []error
	for _, key := range values.Keys() {
		fits := slices.ContainsFunc(settings, func(s setting) bool {
			return s.name == key || values.Get(key) == nil && strings.HasPrefix(s.name, key+".")
		})
		if !fits {
			faults = append(faults, errs.InvalidField(key, "%s sets this, but no setting has this name; `millrace config` lists them all", path))
		}
	}
	return faults
}

// assign puts a value, from YAML or as text from the environment, into a field.
// Errors do not repeat the value: it may be a secret.
func assign(field reflect.Value, value any) error {
	if field.Kind() == reflect.Slice {
		var items []any
		switch list := value.(type) {
		case []any:
			items = list
		case string:
			for item := range strings.SplitSeq(list, ",") {
				items = append(items, strings.TrimSpace(item))
			}
		default:
			return errors.New("must be a list")
		}
		slice := reflect.MakeSlice(field.Type(), len(items), len(items))
		for i, item := range items {
			if err := assign(slice.Index(i), item); err != nil {
				return fmt.Errorf("item %d %w", i+1, err)
			}
		}
		field.Set(slice)
		return nil
	}
	switch value.(type) {
	case map[string]any, []any:
		return errors.New("must be one value")
	}
	text := fmt.Sprint(value)
	if field.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("must be a duration with its unit, as 500ms or 2s")
		}
		field.SetInt(int64(d))
		return nil
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("must be true or false")
		}
		field.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return errors.New("must be a whole number")
		}
		field.SetInt(n)
	case reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return errors.New("must be a whole number, not below 0")
		}
		field.SetUint(n)
	default:
		panic("config: a field of kind " + field.Kind().String()) // a mistake of ours that the first test meets
	}
	return nil
}
