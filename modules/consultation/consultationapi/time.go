package consultationapi

import (
	"fmt"
	"time"
	_ "time/tzdata" // Asia/Seoul must load on machines without a zone database
)

// layout is the wire format: no zone, no fraction.
const layout = "2006-01-02T15:04:05"

var seoul = func() *time.Location {
	loc, err := time.LoadLocation("Asia/Seoul")
	if err != nil {
		panic(err) // the zone database is compiled in
	}
	return loc
}()

// Time is an instant with a resolution of one second. Its wire format is the local
// time in Seoul without a zone ("2025-04-05T18:17:35"). It does not depend on the
// time zone of the process, the machine or the database session.
//
// Two Times of the same second are ==. The zero Time means unknown; its wire
// format is null.
type Time struct{ at time.Time } // always UTC, whole seconds

// At returns t truncated to the second.
func At(t time.Time) Time { return Time{at: t.UTC().Truncate(time.Second)} }

// ParseTime parses the wire format. A zone, a fraction of a second, or a date
// without a time is an error.
func ParseTime(s string) (Time, error) {
	if len(s) != len(layout) { // time.Parse accepts a fraction
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

// IsZero reports whether the time is unknown.
func (t Time) IsZero() bool { return t.at.IsZero() }

// Equal reports whether both are the same second.
func (t Time) Equal(other Time) bool { return t.at.Equal(other.at) }

// String returns the wire format, or "" for the zero Time.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.at.In(seoul).Format(layout)
}

// MarshalJSON returns the wire format.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.String() + `"`), nil
}

// UnmarshalJSON parses the wire format or null.
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
