package demo

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Variants of a file as spreadsheets in different countries save it.
func TestParseOrders_AcceptsSpreadsheetFormats(t *testing.T) {
	t.Parallel()
	file := header + good("goods-1") + good("goods-2")
	want, err := parseOrders([]byte(file))
	require.NoError(t, err)
	by := func(separator string) string { return strings.ReplaceAll(file, ",", separator) }
	lines := strings.SplitAfter(file, "\n")
	for name, text := range map[string]string{
		"Semicolons":                     by(";"),
		"Tabs":                           by("\t"),
		"Bars":                           by("|"),
		"MarkAndSemicolons":              "\uFEFF" + by(";"),
		"SeparatorLine":                  "sep=;\r\n" + by(";"),
		"SeparatorLineComma":             "SEP=,\n" + file,
		"SeparatorLineTab":               "sep=\t\n" + by("\t"),
		"LoneCarriageReturns":            strings.ReplaceAll(by(";"), "\n", "\r"),
		"WindowsLines":                   strings.ReplaceAll(file, "\n", "\r\n"),
		"CarriageReturnsThenOneLineFeed": strings.ReplaceAll(strings.TrimSpace(file), "\n", "\r") + "\n",
		"LineFeedAfterTheHeaderOnly":     header + strings.ReplaceAll(file[len(header):], "\n", "\r"),
		"CarriageReturnAfterTheHeader":   strings.Replace(file, "\n", "\r", 1),
		"EndOfFileOfDOS":                 file + "\x1a",
		"Capitals":                       strings.ToUpper(header) + strings.Join(lines[1:], ""),
		"QuotedNames":                    `"` + strings.ReplaceAll(strings.TrimSpace(header), ",", `","`) + "\"\n" + strings.Join(lines[1:], ""),
		"EmptyRowsAtTheEnd":              file + "\n\n" + strings.Repeat(",", 16) + "\n , ,\n",
		"EmptyColumnsAtTheEnd":           strings.ReplaceAll(file, "\n", ",,\n"),
		"BlanksAndNBSP":                  strings.ReplaceAll(file, ",card,", ", card\u00a0,"),
	} {
		got, err := parseOrders([]byte(text))
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
}

func TestParseOrders_ReportsWrongSeparatorOnce(t *testing.T) {
	t.Parallel()
	file := header + strings.Repeat(good("goods-1"), 30)
	for name, c := range map[string]struct{ file, want string }{
		"Colons":             {strings.ReplaceAll(file, ",", ":"), "line 1: does not name the columns with a separator between them, which is a comma, a semicolon, a tab or a |"},
		"FullWidthCommas":    {strings.ReplaceAll(file, ",", "，"), "line 1: does not name the columns with a separator"},
		"Blanks":             {strings.ReplaceAll(file, ",", " "), "line 1: does not name the columns with a separator"},
		"KoreanNames":        {"주문번호,종류,금액\n" + good("goods-1"), "line 1: does not name the columns with a separator"},
		"OtherLinesAreOther": {header + strings.ReplaceAll(strings.Repeat(good("goods-1"), 30), ",", ";"), `line 2: has the separator ';' between its fields, and the first line has ','`},
		"SeparatorLineIsAny": {"sep=:\n" + strings.ReplaceAll(file, ",", ":"), `line 1: ":" is no separator of fields`},
		"SeparatorLineEmpty": {"sep=\n" + file, `line 1: "" is no separator of fields`},
		"SeparatorLineLies":  {"sep=;\n" + file, `line 1: declares the separator ";", but line 2 has ','`},
		"Workbook":           {"PK\x03\x04\x14\x00", "is not UTF-8 text but an Excel workbook: save the file as CSV UTF-8"},
		"QuotedWholeLines":   {`"` + strings.ReplaceAll(strings.TrimSpace(file), "\n", "\"\n\"") + "\"\n", "line 1: has quotes around the whole line"},
		"UTF32":              {"\xff\xfe\x00\x00o\x00\x00\x00", "is not UTF-8 text but UTF-32 text"},
		"UTF16":              {"\xff\xfeo\x00", "is not UTF-8 text but UTF-16 text"},
	} {
		_, err := parseOrders([]byte(c.file))
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "\n", "%s: one fault", name)
	}
}

// Amounts with a decimal comma, and numbers as a spreadsheet displays them.
func TestParseOrders_RefusesAmountsNotInMinorUnits(t *testing.T) {
	t.Parallel()
	for _, amount := range []string{"15,000", "15.000", "1,5E+04", "1.5E+04", "₩15000", "15000.0", "-5", "0", "１５０００", "15 000", "", "99999999999999999999"} {
		_, err := parseOrders([]byte(strings.ReplaceAll(header, ",", ";") + strings.Replace(strings.ReplaceAll(good("goods-1"), ",", ";"), ";15000;", ";"+amount+";", 1)))
		require.ErrorContains(t, err, "line 2: amount: ", amount)
		require.ErrorContains(t, err, "is not a whole number from 1 to", amount)
	}
}
