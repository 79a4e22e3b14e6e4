package text_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/text"
)

func TestLine_AcceptsPersonalNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"김민준", "남궁 민수", "山田　太郎", "ヤマダ タロウ", "ｶﾀｶﾅ", "葛\U000E0100城 太郎", "José Ñúñez-Ó'Brien", "D’Angelo", "Nguyễn Thị Ánh",
		"محمد بن سلمان", "علی\u200cرضا", "נועה כהן", "अनुष्का", "क्\u200dष", "സുരേഷ് ബാബുവിന്\u200d", "ප්\u200dරියන්ත", "สมชาย", "Αλέξανδρος",
		"Łukasz", "Jürgen Müller (GmbH & Co. KG)", "M\u00a0Dupont", "Zoë 👩\u200d⚕\ufe0f", "🏴\U000E0067\U000E0062\U000E0073\U000E0063\U000E0074\U000E007F",
		"1\ufe0f\u20e3", "☎\ufe0f 02-123-4567", "𠮷野家", "서울특별시 중구 세종대로 110, 101호 #3", "\U0001FAE9", "O.K.", "-", "0",
	} {
		stored, fault := text.Line(name)
		require.Empty(t, fault, name)
		require.Equal(t, name, stored)
	}
}

func TestLine_NormalizesText(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"\u1112\u1161\u11ab\u1100\u1173\u11af": "한글", "Jose\u0301": "José", "  kim \t\n": "kim", "\u3000山田\u00a0": "山田", "": "", " \u3000\r\n": "",
		"A\u030A": "Å", "\u212B": "Å",
	} {
		stored, fault := text.Line(typed)
		require.Empty(t, fault, "%q", typed)
		require.Equal(t, want, stored, "%q", typed)
	}
	stored, _ := text.Line("\u1112\u1161\u11ab")
	require.Equal(t, 1, text.Length(stored))
}

func TestLine_RejectsInvisibleText(t *testing.T) {
	t.Parallel()
	for _, c := range []string{
		"\x00", "\x01", "\t", "\n", "\r\n", "\x1b[31m", "\x7f", "\u0080", "\u0085", "\u009f", "\u2028", "\u2029",
		"\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4", "\u180b", "\u180e", "\u200b", "\u200c", "\u200d", "\u200e", "\u200f",
		"\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2060", "\u2064", "\u2065", "\u2066", "\u2067", "\u2068", "\u2069", "\u206a", "\u206f",
		"\u2800", "\u3164", "\ufe00", "\ufe0e", "\ufe0f", "\ufeff", "\uffa0", "\ufff0", "\ufff9", "\ufffc", "\ue000", "\uf8ff", "\U000F0000", "\U0010FFFD",
		"\ufdd0", "\ufffe", "\uffff", "\U0001FFFE", "\U0010FFFF", "\U000E0001", "\U000E0041", "\U000E007F", "\U000E0100", "\U0001D159", "\U0001D173",
		"\u0378", "\U000E0200", "\u200d\u200d",
	} {
		for _, s := range []string{"김" + c + "민", "Kim" + c + "Lee"} {
			_, fault := text.Line(s)
			require.Contains(t, fault, "U+", "%q", s)
			require.NotContains(t, fault, "Kim")
		}
	}
	for _, s := range []string{"Kim\u200b", "\u202eKim", "\u0301kim", "\u200b", "\u3164\u3164", "\ufeffKim", "علی\u200c", "علی\u200c\u200cرضا", "🏴\U000E0067\U000E0062", "Kim1\ufe0f"} {
		_, fault := text.Line(s)
		require.Contains(t, fault, "U+", "%q", s)
	}
	for _, s := range []string{"\xff", "Kim\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "김\xea\xb9"} {
		_, fault := text.Line(s)
		require.Contains(t, fault, "UTF-8", "%q", s)
	}
}

func TestText_LimitsCombiningMarks(t *testing.T) {
	t.Parallel()
	for _, rule := range []func(string) (string, string){text.Line, text.Lines} {
		_, fault := rule("Z" + strings.Repeat("\u0335", 8) + "a" + strings.Repeat("\u0316", 8))
		require.Empty(t, fault)
		_, fault = rule("Z" + strings.Repeat("\u0335", 9))
		require.Contains(t, fault, "combining marks")
	}
}

func TestLines_AcceptsOrdinaryMessages(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"첫 줄\r\n둘째 줄\r셋째\u2028넷째\n": "첫 줄\n둘째 줄\n셋째\n넷째",
		"a\tb": "a\tb",
		"👨\u200d👩\u200d👧 🇰🇷 👍🏽":                               "👨\u200d👩\u200d👧 🇰🇷 👍🏽",
		"می\u200cخواهم":                                       "می\u200cخواهم",
		"pasted\u200btext\ufeff and\u00adhyphen":              "pasted\u200btext\ufeff and\u00adhyphen",
		"שלום\u200f!":                                         "שלום\u200f!",
		"call \u202a+82 10-1234-5678\u202c or \u2068me\u2069": "call \u202a+82 10-1234-5678\u202c or \u2068me\u2069",
		"\u1112\u1161\u11ab":                                  "한",
		"":                                                    "", " \n\t ": "",
		"\U0001F9FF\U0001FADF": "\U0001F9FF\U0001FADF",
	} {
		stored, fault := text.Lines(typed)
		require.Empty(t, fault, "%q", typed)
		require.Equal(t, want, stored)
	}
}

func TestLines_RejectsInvisibleTextAndControlCharacters(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"\u200b", "\u200b\u200b \n \u200d", "\u3164", "\u2800\u2800", "\ufeff", "\u115f\u1160", "\ufe0f", "\u00ad", "\u2060\u200e", "\ufffc", "\u0301", "\U000E0100", "\u034f",
	} {
		_, fault := text.Lines(s)
		require.Contains(t, fault, "nothing but blank", "%q", s)
	}
	for _, c := range []string{
		"\x00", "\x07", "\x08", "\v", "\f", "\x1b[2J", "\x7f", "\u0085", "\u009b", "\ue000", "\ufdd0", "\ufffe", "\u202e", "\u202d", "\u202a", "\u202c", "\u2066", "\u2069",
		"\u2066\u202c", "\u202b\n\u202c", "\U000E0041", "\U000E0001", "\ufff9", "\u206b",
	} {
		_, fault := text.Lines("hello" + c + "you")
		require.Contains(t, fault, "U+", "%q", c)
	}
	_, fault := text.Lines("a\xff")
	require.Contains(t, fault, "UTF-8")
}

func FuzzText(f *testing.F) {
	f.Add("김민준\u200b\u0301\U000E0067")
	f.Fuzz(func(t *testing.T, s string) {
		for _, rule := range []func(string) (string, string){text.Line, text.Lines} {
			stored, fault := rule(s)
			if fault != "" {
				continue
			}
			again, fault := rule(stored)
			if fault != "" || again != stored {
				t.Fatalf("%q is stored as %q, and that as %q: %s", s, stored, again, fault)
			}
		}
	})
}
