package demo

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// separators are the field separators of an orders file, as spreadsheets use them in
// different countries. The first is the usual one.
const separators = ",;\t|"

// readable returns a file's text with line feeds as line ends. If the file is not
// UTF-8 text, the error names what it is.
func readable(text []byte) ([]byte, error) {
	for _, known := range otherFiles {
		if bytes.HasPrefix(text, []byte(known.start)) {
			return nil, fmt.Errorf("line 1: is not UTF-8 text but %s: save the file as CSV UTF-8", known.what)
		}
	}
	text = bytes.TrimPrefix(text, []byte("\uFEFF")) // spreadsheets write a byte order mark
	if at := firstNoText(text); at >= 0 {           // another encoding, or no text: report it once instead of once per line
		return nil, fmt.Errorf("line %d: is not UTF-8 text: save the file as CSV UTF-8", 1+bytes.Count(text[:at], []byte("\n")))
	}
	text = bytes.TrimSuffix(text, []byte("\x1a")) // the end-of-file mark of DOS
	return lineFeeds(text), nil
}

// otherFiles are the first bytes of files that are not UTF-8 text; longer ones come
// first.
var otherFiles = []struct{ start, what string }{
	{"PK\x03\x04", "an Excel workbook"}, {"\xd0\xcf\x11\xe0", "an old Excel workbook"},
	{"\xff\xfe\x00\x00", "UTF-32 text"}, {"\x00\x00\xfe\xff", "UTF-32 text"}, {"\xff\xfe", "UTF-16 text"}, {"\xfe\xff", "UTF-16 text"},
}

// lineFeeds replaces each lone carriage return outside quotes, the line end of old
// Macs, by a line feed. A file may have both.
func lineFeeds(text []byte) []byte {
	text = slices.Clone(text)
	quoted := false
	for i, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case c == '\r' && !quoted && (i+1 == len(text) || text[i+1] != '\n'):
			text[i] = '\n'
		}
	}
	return text
}

// separated finds the separator of a file: the one that its first line declares in
// Excel's form (sep=;), or the one between the names of the columns. It returns the
// text with that first line emptied, so that line numbers stay right.
func separated(text []byte) ([]byte, rune, error) {
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	line := strings.TrimRight(string(first), "\r")
	if len(line) >= 4 && strings.EqualFold(line[:4], "sep=") {
		given := line[4:]
		if len(given) != 1 || !strings.Contains(separators, given) {
			return nil, 0, fmt.Errorf("line 1: %s is no separator of fields: it is a comma, a semicolon, a tab or a |", shown(given))
		}
		names, _, _ := bytes.Cut(rest, []byte("\n"))
		if best, most := separatorOf(string(names)); most > 1 && best != rune(given[0]) {
			return nil, 0, fmt.Errorf("line 1: declares the separator %q, but line 2 has %q: change line 1, or leave it out", given, best)
		}
		return slices.Concat([]byte("\n"), rest), rune(given[0]), nil
	}
	best, most := separatorOf(line)
	if most > 1 && len(line) > 1 && line[0] == '"' && line[len(line)-1] == '"' && !strings.ContainsRune(line[1:len(line)-1], '"') {
		return nil, 0, errors.New("line 1: has quotes around the whole line: put them around each field, or around none")
	}
	if most == 0 && strings.TrimSpace(line) != "" {
		return nil, 0, errors.New("line 1: does not name the columns with a separator between them, which is a comma, a semicolon, a tab or a |: " + strings.Join(orderColumns, ","))
	}
	return text, best, nil
}

// separatorOf returns the separator that splits a line into the most column names, and
// the number of these names.
func separatorOf(line string) (best rune, most int) {
	best = ','
	for _, separator := range separators {
		known := 0
		for name := range strings.SplitSeq(line, string(separator)) {
			if slices.Contains(orderColumns, columnName(strings.Trim(name, "\"\r "))) {
				known++
			}
		}
		if known > most {
			best, most = separator, known
		}
	}
	return best, most
}

// otherSeparator returns the separator of a line that does not use the file's own; 0 if
// there is none.
func otherSeparator(record []string, columns int) rune {
	if len(record) != 1 {
		return 0
	}
	for _, separator := range separators {
		if strings.Count(record[0], string(separator)) >= columns-1 {
			return separator
		}
	}
	return 0
}

// columnName normalises a column's name for comparison.
func columnName(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

// withoutBlankEnd removes empty fields from the end of a record, but keeps at least so
// many fields: spreadsheets write columns that were used once.
func withoutBlankEnd(record []string, least int) []string {
	for len(record) > least && strings.TrimSpace(record[len(record)-1]) == "" {
		record = record[:len(record)-1]
	}
	return record
}
