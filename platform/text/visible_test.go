package text_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/text"
)

func TestVisible_EscapesControlAndInvisibleCharacters(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"plain ASCII, 한글, é, 山田":                     "plain ASCII, 한글, é, 山田",
		"👩\u200d⚕\ufe0f علی\u200cرضا":                "👩\u200d⚕\ufe0f علی\u200cرضا",
		`C:\data \x1b`:                               `C:\data \x1b`,
		"\x1b]0;title\a\x1b[2J":                      `\x1b]0;title\a\x1b[2J`,
		"\x00\b\v\f\x7f":                             `\x00\b\v\f\x7f`,
		"\u009b31m\u0090\u0085":                      `\u009b31m\u0090\u0085`,
		"a\r\nb\tc\u2028d\u2029":                     `a\r\nb\tc\u2028d\u2029`,
		"\u202eevil\u2066\u200f":                     `\u202eevil\u2066\u200f`,
		"a\u200bb\ufeff\u00ad\u3164\u2800\U000E0041": `a\u200bb\ufeff\u00ad\u3164\u2800\U000e0041`,
		"\ue000\ufdd0\uffff":                         `\ue000\ufdd0\uffff`,
		"\xff\xc3a\x9b":                              `\xff\xc3a\x9b`,
		"\ufffd":                                     "\ufffd",
		"Z" + strings.Repeat("\u0335", 10):           "Z" + strings.Repeat("\u0335", 8) + `\u0335\u0335`,
	} {
		require.Equal(t, want, text.Visible(given), "%q", given)
		require.Equal(t, want, text.Visible(want), "repeating it changes nothing")
	}
	require.Equal(t, "a\n\tb\\rc", text.VisibleLines("a\n\tb\rc"))
}

func TestVisibleJSON_EscapesAndKeepsMeaning(t *testing.T) {
	t.Parallel()
	given := map[string]string{"type": "\x1b[31m\x7f\u009b\u202e\u200b\U000E0041 한글 👍"}
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(given))
	shown := text.VisibleJSON(encoded.Bytes())
	require.Equal(t, "{\n  \"type\": \"\\u001b[31m\\u007f\\u009b\\u202e\\u200b\\udb40\\udc41 한글 👍\"\n}\n", string(shown))
	var back map[string]string
	require.NoError(t, json.Unmarshal(shown, &back))
	require.Equal(t, given, back)
}
