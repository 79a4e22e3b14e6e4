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

// orderColumns are the columns of a file of orders. Their order is free, all
// must be there, and no other may.
var orderColumns = []string{
	"order_key", "kind", "item", "user_id", "email", "language", "amount", "currency", "method",
	"address", "name", "phone", "postcode", "line1", "line2", "city", "country",
}

// Limits of a file of orders.
const (
	maxOrdersFile = 64 << 20 // bytes
	maxFaults     = 100      // that are told, of a file with more
)

// order is one line of the file.
type order struct {
	Key, UserID, Email, Language string
	Amount                       int64 // minor units
	Currency, Method             string
	AddressAfter                 bool // the address comes only after the payment
	Address                      postal
}

// postal is an address as PUT /deliveries/{orderKey}/address takes it.
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
// takes count of its orders; 0 means all. More than there are: the file is
// played again and again, with "-2", "-3" … behind the order keys.
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

// inFile puts the file's name before each of the faults in it.
func inFile(name string, err error) error {
	faults := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // only what was joined here
		faults = joined.Unwrap()
	}
	for i, fault := range faults {
		faults[i] = errs.New(errs.Invalid, "%s %w", name, fault)
	}
	return errors.Join(faults...)
}

// repeated takes count orders of all.
func repeated(all []order, count int) ([]order, error) {
	if count == 0 {
		count = len(all)
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

// firstNoText returns where text stops being UTF-8 without NUL, or -1.
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

// parseOrders reads a whole file, or reports everything that is wrong with it,
// each with its line and field and what would be right.
func parseOrders(text []byte) ([]order, error) {
	text = bytes.TrimPrefix(text, []byte("\uFEFF")) // as spreadsheets write it
	if at := firstNoText(text); at >= 0 {           // another encoding, or no text at all: every line would be wrong
		return nil, fmt.Errorf("line %d: is not UTF-8 text: save the file as CSV UTF-8", 1+bytes.Count(text[:at], []byte("\n")))
	}
	lines := csv.NewReader(bytes.NewReader(text))
	lines.FieldsPerRecord = -1 // told by us, with every other fault
	header, err := lines.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("line 1: the file is empty; its first line names the columns: " + strings.Join(orderColumns, ","))
	}
	if err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	at, err := columnsOf(header)
	if err != nil {
		return nil, err
	}
	var all []order
	var faults []error
	seen := map[string]int{} // order key → line
	for {
		record, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if len(faults) >= maxFaults {
			faults = append(faults, fmt.Errorf("and perhaps more: only the first %d are told", maxFaults))
			break
		}
		if err != nil { // a quote that is wrong: what follows cannot be told apart
			faults = append(faults, fmt.Errorf("%w: double every quote inside a quoted field; the lines after this one were not read", err))
			break
		}
		line, _ := lines.FieldPos(0)
		if len(record) != len(header) {
			faults = append(faults, fmt.Errorf("line %d: has %d fields, the first line names %d: quote a field that has a comma", line, len(record), len(header)))
			continue
		}
		o, wrong := orderOf(func(column string) string { return strings.TrimSpace(record[at[column]]) })
		if first, twice := seen[o.Key]; twice {
			wrong = append(wrong, fault{"order_key", "is that of line " + strconv.Itoa(first) + " already: an order is paid once"})
		} else {
			seen[o.Key] = line
		}
		for _, w := range wrong {
			faults = append(faults, fmt.Errorf("line %d: %s: %s", line, w.field, w.what))
		}
		all = append(all, o)
	}
	if len(faults) == 0 && len(all) == 0 {
		return nil, errors.New("line 2: there are no orders")
	}
	return all, errors.Join(faults...)
}

// columnsOf finds where each column stands.
func columnsOf(header []string) (map[string]int, error) {
	at := map[string]int{}
	var faults []error
	for i, name := range header {
		name = strings.TrimSpace(name)
		if _, twice := at[name]; twice {
			faults = append(faults, fmt.Errorf("line 1: the column %q is there twice", name))
		}
		if !slices.Contains(orderColumns, name) {
			faults = append(faults, fmt.Errorf("line 1: there is no column %q; there are %s", name, strings.Join(orderColumns, ",")))
		}
		at[name] = i
	}
	for _, name := range orderColumns {
		if _, there := at[name]; !there {
			faults = append(faults, fmt.Errorf("line 1: the column %q is missing", name))
		}
	}
	return at, errors.Join(faults...)
}
