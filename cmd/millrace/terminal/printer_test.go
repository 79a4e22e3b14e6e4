package terminal_test

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/terminal"
)

const evil = "\x1b[2J\u009b\u202e\nmillrace: done\r\x7f\xff"

type name string

type stringer struct{ of string }

func (s stringer) String() string { return s.of }

func TestPrinter_PrintsEachValueOnOneVisibleLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := terminal.New(&out)
	p.Printf("%-4s|%5d|%.1f|%t|%s\n", "a", 12, 1.25, true, 2*time.Second)
	require.Equal(t, "a   |   12|1.2|true|2s\n", out.String())
	const want = `\x1b[2J\u009b\u202e\nmillrace: done\r\x7f\xff`
	for _, value := range []any{evil, name(evil), errors.New(evil), stringer{evil}, &stringer{evil}} {
		out.Reset()
		p.Printf("-%s-\n", value)
		require.Equal(t, "-"+want+"-\n", out.String(), "%T", value)
	}
	for _, value := range []any{[]string{evil}, map[string]string{evil: evil}, struct{ A string }{evil}, []byte(evil)} {
		out.Reset()
		p.Printf("%v\n", value)
		require.Equal(t, 1, strings.Count(out.String(), "\n"), "%T: %q", value, out.String())
		require.NotContains(t, out.String(), "\x1b")
	}
}

func TestPrinter_PrintsNoControlCharacters(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := terminal.New(&out)
	p.Table(0, []string{"ID", "KEY"}, []string{"1\t2", evil})
	p.Table(tabwriter.AlignRight, []string{"a", "bb"}, []string{"ccc", "d"})
	require.Equal(t, "ID    KEY\n1\\t2  \\x1b[2J\\u009b\\u202e\\nmillrace: done\\r\\x7f\\xff\n    a  bb\n  ccc   d\n", out.String())
	out.Reset()
	p.Block("a: " + evil + "\n")
	n, err := p.Write([]byte(evil))
	require.NoError(t, err)
	require.Len(t, evil, n)
	require.NoError(t, p.JSON(map[string]string{"type": evil}, ""))
	require.False(t, strings.ContainsAny(out.String(), "\x1b\u009b\u202e\r\x7f"), "%q", out.String())
	require.Contains(t, out.String(), `{"type":"\u001b[2J\u009b\u202e\nmillrace: done\r\u007f\ufffd"}`+"\n")
}

// TestCommand_QuotesEachValueAsOneWord runs the commands in bash.
func TestCommand_QuotesEachValueAsOneWord(t *testing.T) {
	t.Parallel()
	require.Equal(t, "millrace deadletters forget --reason … delivery payment.completed",
		terminal.Command("millrace deadletters forget --reason …", "delivery", "payment.completed"))
	require.Equal(t, "millrace trace -- --by=x", terminal.Command("millrace trace", "--by=x"))
	bash, err := exec.LookPath("bash")
	require.NoError(t, err, "the commands are for a shell, and one is needed here")
	for _, value := range []string{
		"", "plain", "two words", "it's", `"double"`, "$(touch x)", "`touch x`", "; rm -rf ~", "a\\b", "!!", "한글 이름", "~", "*", "a&b|c>d<e#f",
		evil, "\x1b]0;x\a", "a\nb", "it's\x1b'; touch x; '", "\u202e12", "\x01", "\x017",
	} {
		command := terminal.Command("printf '%s|'", "first", value, "last")
		require.NotContains(t, command, "\x1b")
		require.NotContains(t, command, "\n")
		printed, err := exec.CommandContext(t.Context(), bash, "-c", command).Output()
		require.NoError(t, err, command)
		require.Equal(t, "first|"+value+"|last|", string(printed), command)
	}
}
