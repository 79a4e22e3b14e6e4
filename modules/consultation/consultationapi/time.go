package consultationapi

import (
	"fmt"
	"time"
	_ "time/tzdata" // Asia/Seoul must be known on machines without a zone database
)

// layout is the wire form: no zone, no fraction.
const layout = "2006-01-02T15:04:05"

var seoul = func() *time.Location {
	loc, err := time.LoadLocation("Asia/Seoul")
	if err != nil {
		panic(err) // the zone database is compiled in
	}
	return loc
}()

// Time is an instant, to the second, whose wire form is the wall clock of Seoul
// without a zone ("2025-04-05T18:17:35"). What it means does not depend on the
// zone of the process, of the machine or of the database session.
//
// Two Times of the same second are == to each other. The zero Time is "not
// known"; its wire form is null.
type Time struct{ at time.Time } // always UTC, whole seconds

// At returns the second that t lies in.
func At(t time.Time) Time { return Time{at: t.UTC().Truncate(time.Second)} }

// ParseTime reads the wire form. A zone, a fraction of a second, or a date
// without a time are errors.
func ParseTime(s string) (Time, error) {
	if len(s) != len(layout) { // the parser by itself accepts a fraction
		return Time{}, fmt.Errorf("%q is not a time like %s", s, layout)
	}
	at, err := time.ParseInLocation(layout, s, seoul)
	if err != nil {
		return Time{}, fmt.Errorf("%q is not a time like %s: %w", s, layout, err)
	}
	return At(at), nil
}

// Instant returns the instant, in UTC.
func (t Time) Instant() time.Time { return t.at }

// IsZero reports whether the time is not known.
func (t Time) IsZero() bool { return t.at.IsZero() }

// Equal reports whether both are the same second.
func (t Time) Equal(other Time) bool { return t.at.Equal(other.at) }

// String is the wire form, or "" for the zero Time.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.at.In(seoul).Format(layout)
}

// MarshalJSON writes the wire form.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.String() + `"`), nil
}

// UnmarshalJSON reads the wire form, or null.
func (t *Time) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*t = Time{}
		return nil
	}
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' {
		return fmt.Errorf("%s is not a time like %q", data, layout)
	}
	parsed, err := ParseTime(string(data[1 : len(data)-1]))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}
