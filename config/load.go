package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"millrace/platform/errs"
)

// setting is one field of Config with its name.
type setting struct {
	name  string
	field reflect.Value
}

// variable returns the setting's environment variable.
func (s setting) variable() string {
	return prefix + strings.ToUpper(strings.ReplaceAll(s.name, ".", "_"))
}

// settingsOf returns every field of c, in the order of the struct.
func settingsOf(c *Config) []setting {
	var all []setting
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		for i := range v.NumField() {
			name := path + v.Type().Field(i).Tag.Get("yaml")
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

func namesOf(settings []setting) []string {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.name
	}
	return names
}

// Load reads the file, if there is a path, and the environment in the form of
// os.Environ, over the defaults. Its error lists every value that cannot be
// parsed, or wraps ErrUnread if the whole file cannot be read. Whether values
// are acceptable is checked later by Validate, after flags were applied.
// libpq's variables complete database URLs, see [pgurl.URL.Complete].
func Load(path string, environ []string) (Config, error) {
	config := Default()
	settings := settingsOf(&config)
	var faults []error
	values := map[string]value{}
	if path != "" {
		read, err := readFile(path, settings)
		if err != nil {
			return config, err
		}
		values, faults = read.values, read.faults
	}
	set, wrong := variables(environ, settings)
	maps.Copy(values, set)
	faults = append(faults, wrong...)
	for _, s := range settings {
		got, ok := values[s.name]
		if !ok {
			continue
		}
		if err := assign(s, got); err != nil {
			faults = append(faults, errs.InvalidField(s.name, "%s%s", err, got.from))
		}
	}
	faults = append(faults, config.Database.complete(environ)...)
	return config, errors.Join(faults...)
}

// assign sets a setting's field. Errors do not quote the value, because it may
// be a secret.
func assign(s setting, got value) error {
	if s.field.Kind() != reflect.Slice {
		return assignText(s.field, got.text)
	}
	items := got.list
	switch {
	case items != nil:
	case s.name == "database.parts":
		items = splitAddresses(got.text)
	default:
		for item := range strings.SplitSeq(got.text, ",") {
			items = append(items, strings.TrimSpace(item))
		}
	}
	slice := reflect.MakeSlice(s.field.Type(), len(items), len(items))
	for i, item := range items {
		if err := assignText(slice.Index(i), item); err != nil {
			return fmt.Errorf("item %d %w", i+1, err)
		}
	}
	s.field.Set(slice)
	return nil
}

// wholeNumber allows one notation only: 010 means ten to some programs and
// eight to others.
var wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

func assignText(field reflect.Value, text string) error {
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
		if err != nil || !wholeNumber.MatchString(text) {
			return errors.New("must be a whole number, in digits only, as 8")
		}
		field.SetInt(n)
	case reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || !wholeNumber.MatchString(text) {
			return errors.New("must be a whole number, not below 0, in digits only, as 8")
		}
		field.SetUint(n)
	default:
		panic("config: a field of kind " + field.Kind().String()) // a mistake in Config, which every test finds
	}
	return nil
}
