// Package terminal prints all output of the program's commands. The output
// contains text from messages, databases and other programs: such text must not
// move the cursor, change colours, hide or rename anything on the operator's
// terminal, or look like a line of ours. An architecture test checks that commands
// print only through this package.
package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"

	"millrace/platform/text"
)

// Printer writes text without characters that control a terminal. Its methods
// ignore write errors; the underlying writer must keep the first one if a caller
// needs it.
type Printer struct{ to io.Writer }

// New makes a Printer. Each call's output is written to the writer at once.
func New(to io.Writer) *Printer { return &Printer{to} }

// Printf prints with a format that is a constant of the program, and may contain
// line breaks. Values may be untrusted: each is printed on one line (see [text.Visible]).
func (p *Printer) Printf(format string, values ...any) {
	_, _ = p.Write([]byte(Sprintf(format, values...))) // the underlying writer keeps its first error for the exit code
}

// Block prints a text of several lines, such as a configuration, and keeps its line breaks.
func (p *Printer) Block(lines string) { _, _ = p.Write([]byte(lines)) } // see Printf

// Table prints rows of cells in aligned columns, each cell on one line. The flags
// are text/tabwriter's.
func (p *Printer) Table(flags uint, rows ...[]string) {
	var lines bytes.Buffer
	columns := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', flags)
	end := ""
	if flags&tabwriter.AlignRight != 0 {
		end = "\t" // tabwriter aligns only cells that end with a tab
	}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = text.Visible(cell)
		}
		fmt.Fprintln(columns, strings.Join(cells, "\t")+end)
	}
	_ = columns.Flush()           // a write to a buffer never fails
	_, _ = p.Write(lines.Bytes()) // see Printf
}

// JSON prints a value as JSON, on one line or indented. Control characters in
// strings are printed as JSON escapes (\u001b).
func (p *Printer) JSON(value any, indent string) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if indent != "" {
		var lines bytes.Buffer
		if err := json.Indent(&lines, encoded, "", indent); err != nil {
			return err
		}
		encoded = lines.Bytes()
	}
	_, err = p.to.Write(append(text.VisibleJSON(encoded), '\n'))
	return err
}

// Write is for libraries that print (kong's help). It replaces all control
// characters except line feeds and tabs by visible escapes.
func (p *Printer) Write(lines []byte) (int, error) {
	if _, err := io.WriteString(p.to, text.VisibleLines(string(lines))); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// Sprintf is Printf into a string.
func Sprintf(format string, values ...any) string {
	shown := make([]any, len(values))
	for i, value := range values {
		shown[i] = visible(value)
	}
	return fmt.Sprintf(format, shown...)
}

// visible keeps numbers and booleans, so that their verbs work, and converts any
// other value to visible text.
func visible(value any) any {
	switch value.(type) {
	case error, fmt.Stringer:
		return text.Visible(fmt.Sprint(value))
	}
	switch v := reflect.ValueOf(value); {
	case v.CanInt(), v.CanUint(), v.CanFloat(), v.Kind() == reflect.Bool:
		return value
	}
	return text.Visible(fmt.Sprint(value))
}
