package demo

import (
	"bytes"
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"millrace/platform/errs"
)

//go:generate go run generate.go

//go:embed data/orders.csv
var embeddedOrders []byte

// orderColumns are the columns of an orders file, in any order. All are required, and
// no others are allowed. Fields are separated by one of separators.
var orderColumns = []string{
	"order_key", "kind", "item", "user_id", "email", "language", "amount", "currency", "method",
	"address", "name", "phone", "postcode", "line1", "line2", "city", "country",
}

// Limits of an orders file.
const (
	maxOrdersFile = 64 << 20 // bytes
	maxOrders     = 100_000  // orders of a run; an order with its mails takes about ten kilobytes of memory
	maxFaults     = 20       // faults reported; more are only counted
)

// order is one line of an orders file.
type order struct {
	Key, UserID, Email, Language string
	Amount                       int64 // minor units
	Currency, Method             string
	AddressAfter                 bool // the address is sent only after the payment
	Address                      postal
}

// postal is the body of PUT /deliveries/{orderKey}/address.
type postal struct {
	Name     string `json:"name"`
	Phone    string `json:"phone"`
	Postcode string `json:"postcode"`
	Line1    string `json:"line1"`
	Line2    string `json:"line2,omitempty"`
	City     string `json:"city,omitempty"`
	Country  string `json:"country,omitempty"`
}

// loadOrders reads the file at path, or the embedded one if path is empty, and
// returns count of its orders; 0 means all. If count is larger, the orders are
// repeated, with "-2", "-3" … appended to the order keys.
func loadOrders(path string, count int) ([]order, error) {
	name, text := "the embedded orders", embeddedOrders
	if path != "" {
		f, err := os.Open(path)
		if err != nil {
			return nil, errs.New(errs.Invalid, "--orders: %w", err)
		}
		defer f.Close()
		if text, err = io.ReadAll(io.LimitReader(f, maxOrdersFile+1)); err != nil {
			return nil, errs.New(errs.Invalid, "--orders: %w", err)
		}
		if name = path; len(text) > maxOrdersFile {
			return nil, errs.New(errs.Invalid, "--orders: %s has more than %d MiB: split it", path, maxOrdersFile>>20)
		}
	}
	all, err := parseOrders(text)
	if err != nil {
		return nil, inFile(name, err)
	}
	return repeated(all, count)
}

// inFile adds the file's name to each of the faults in it.
func inFile(name string, err error) error {
	faults := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // only errors that were joined here
		faults = joined.Unwrap()
	}
	for i, fault := range faults {
		faults[i] = errs.New(errs.Invalid, "%s %w", name, fault)
	}
	return errors.Join(faults...)
}

// repeated returns count orders, repeating all as often as needed.
func repeated(all []order, count int) ([]order, error) {
	if count == 0 {
		count = len(all)
	}
	if count < 1 || count > maxOrders {
		return nil, errs.New(errs.Invalid, "%d orders are not from 1 to %d: give --count, or a smaller file", count, maxOrders)
	}
	known := make(map[string]bool, len(all))
	for _, o := range all {
		known[o.Key] = true
	}
	taken := make([]order, count)
	for i := range taken {
		taken[i] = all[i%len(all)]
		if round := i/len(all) + 1; round > 1 {
			taken[i].Key += "-" + strconv.Itoa(round)
			if len(taken[i].Key) > maxKey || known[taken[i].Key] {
				return nil, errs.New(errs.Invalid, "--count %d is more than the %d orders of the file, and %s cannot be played again as %s: give more lines, or a smaller count",
					count, len(all), all[i%len(all)].Key, taken[i].Key)
			}
		}
	}
	return taken, nil
}

// firstNoText returns the index of the first byte that is NUL or not UTF-8, or -1.
func firstNoText(text []byte) int {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == 0 || r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

// faultList keeps the first faults of a file, and counts the others.
type faultList struct {
	first []error
	more  int
}

func (f *faultList) add(format string, args ...any) {
	if len(f.first) == maxFaults {
		f.more++
		return
	}
	f.first = append(f.first, fmt.Errorf(format, args...))
}

func (f *faultList) err() error {
	if f.more > 0 {
		return errors.Join(append(f.first, fmt.Errorf("and %d more", f.more))...)
	}
	return errors.Join(f.first...)
}

// parseOrders parses a whole file. The error lists at most 20 faults, each with its
// line, its field and what is allowed.
func parseOrders(text []byte) ([]order, error) {
	text, err := readable(text)
	if err != nil {
		return nil, err
	}
	text, separator, err := separated(text)
	if err != nil {
		return nil, err
	}
	lines := csv.NewReader(bytes.NewReader(text))
	lines.Comma = separator
	lines.FieldsPerRecord = -1 // we report wrong lengths with all other faults
	header, err := lines.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("line 1: the file is empty; its first line names the columns: " + strings.Join(orderColumns, ","))
	}
	if err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	headerLine, _ := lines.FieldPos(0)
	header = withoutBlankEnd(header, 1)
	at, err := columnsOf(headerLine, header)
	if err != nil {
		return nil, err
	}
	var all []order
	var faults faultList
	seen := map[string]int{} // order key → line
	for {
		record, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // a misplaced quote: the rest cannot be split into fields
			faults.add("%w: double every quote inside a quoted field; the lines after this one were not read", err)
			break
		}
		line, _ := lines.FieldPos(0)
		if len(withoutBlankEnd(record, 0)) == 0 {
			continue // a blank row: spreadsheets write rows that were used once
		}
		record = withoutBlankEnd(record, len(header))
		if other := otherSeparator(record, len(header)); other != 0 {
			faults.add("line %d: has the separator %q between its fields, and the first line has %q: use one; the lines after this one were not read", line, other, separator)
			break
		}
		if len(record) != len(header) {
			faults.add("line %d: has %d fields, the first line names %d: quote a field that has the separator %q in it", line, len(record), len(header), separator)
			continue
		}
		o, wrong := orderOf(func(column string) string { return strings.TrimSpace(record[at[column]]) })
		if first, twice := seen[o.Key]; twice {
			wrong = append(wrong, fault{"order_key", "is that of line " + strconv.Itoa(first) + " already: an order is paid once"})
		} else {
			seen[o.Key] = line
		}
		for _, w := range wrong {
			faults.add("line %d: %s: %s", line, w.field, w.what)
		}
		all = append(all, o)
	}
	if len(faults.first) == 0 && len(all) == 0 {
		return nil, fmt.Errorf("line %d: there are no orders", headerLine+1)
	}
	return all, faults.err()
}

// columnsOf returns the index of each column. Names are compared without case.
func columnsOf(line int, header []string) (map[string]int, error) {
	at := map[string]int{}
	var faults, missing []string
	for i, name := range header {
		name = columnName(name)
		if _, twice := at[name]; twice {
			faults = append(faults, fmt.Sprintf("the column %s is there twice", shown(name)))
		}
		if !slices.Contains(orderColumns, name) {
			faults = append(faults, fmt.Sprintf("there is no column %s", shown(name)))
		}
		at[name] = i
	}
	for _, name := range orderColumns {
		if _, there := at[name]; !there {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		faults = append(faults, "missing are "+strings.Join(missing, ","))
	}
	if len(faults) == 0 {
		return at, nil
	}
	if most := 5; len(faults) > most {
		faults = append(faults[:most], "and more")
	}
	return nil, fmt.Errorf("line %d: %s; the columns are %s", line, strings.Join(faults, "; "), strings.Join(orderColumns, ","))
}
