package demo

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

const header = "order_key,kind,item,user_id,email,language,amount,currency,method,address,name,phone,postcode,line1,line2,city,country\n"

func good(key string) string {
	return key + ",goods,Sun cream,user-1,user1@mail.example,ko,15000,KRW,card,before,김민준,+82 10-1234-5678,04524,세종대로 110,101호,서울,KR\n"
}

func TestLoadOrders_EmbeddedFileHasEveryKind(t *testing.T) {
	t.Parallel()
	all, err := loadOrders("", 0)
	require.NoError(t, err)
	require.Len(t, all, 1000)
	count := map[string]int{}
	for _, o := range all {
		count[o.Currency]++
		count[o.Language]++
		if o.Address.Postcode == "00000" {
			count["nowhere"]++
		}
		if o.AddressAfter {
			count["after"]++
		}
	}
	for _, kind := range []string{"KRW", "USD", "JPY", "EUR", "BHD", "ko", "en", "nowhere", "after"} {
		require.Positive(t, count[kind], kind)
	}
	require.Greater(t, count["KRW"], 800)
}

func TestParseOrders_ReportsEveryBadFieldWithItsLine(t *testing.T) {
	t.Parallel()
	file := header + good("goods-1") +
		"deposit-1,deposit,,user 2,nobody,fr,1.5,KRX,4111-1111,later,,x,123,,,,Korea\n" + // line 3
		good("goods-1") + // line 4: the same key again
		"goods-2,goods\n" + // line 5
		strings.Replace(good("goods-3"), "15000", "0", 1) +
		strings.Replace(good("goods-4"), "101호", "\"two\nlines\"", 1) + // lines 7 and 8
		strings.Replace(good("goods-5"), "04524", "4524", 1) // line 9
	texts := header + // a second file, since at most 20 faults of a file are reported
		strings.Replace(good("goods-6"), "KRW", "BGN", 1) + // line 2: a currency that no longer exists
		strings.Replace(good("goods-7"), "user-1,", "..,", 1) +
		strings.Replace(good("goods-8"), "user-1,", "010-1234-5678,", 1) + // line 4
		strings.Replace(good("goods-9"), "김민준", "김\u202e민준", 1) +
		strings.Replace(good("goods-10"), "서울", "\u3164", 1) // line 6
	_, err := parseOrders([]byte(file))
	require.Error(t, err)
	_, second := parseOrders([]byte(texts))
	require.Error(t, second)
	all := err.Error() + "\n" + second.Error()
	for _, want := range []string{
		`line 3: order_key: "deposit-1" is not goods-`, `line 3: kind: "deposit" is not goods; deposits are paid by the consultations`,
		`line 3: user_id: `, `line 3: email: `, `line 3: language: "fr" is neither ko nor en`,
		`line 3: amount: "1.5" is not a whole number`, `line 3: currency: "KRX" is not an active ISO 4217 code`, `line 3: method: `,
		`line 3: address: "later" is neither before nor after`, `line 3: name: is empty`, `line 3: phone: `, `line 3: line1: is empty`, `line 3: country: "Korea"`,
		`line 4: order_key: is that of line 2 already`, `line 5: has 2 fields, the first line names 17`, `line 6: amount: "0"`,
		`line 7: line2: has as character 4 U+000A, a line break`, `line 9: postcode: "4524" is not five digits`,
		`line 2: currency: "BGN" is not an active ISO 4217 code`,
		`line 3: user_id: ".." must be 1 to 64 letters`, `line 4: user_id: "010-1234-5678" must not be a telephone number`,
		`line 5: name: has as character 2 U+202E`, `line 6: city: has as character 1 U+3164`,
	} {
		require.Contains(t, all, want)
	}
	require.NotContains(t, err.Error(), "line 2:")
}

func TestParseOrders_ChecksMailAddressesLikeContacts(t *testing.T) {
	t.Parallel()
	for email, want := range map[string]string{
		"a..b@docomo.ne.jp": "line 2: email: \"a..b@docomo.ne.jp\" has two dots in a row", ".kim@x.com": "starts with a dot",
		"kim.@x.com": "a dot before", "kim@localhost": "no dot after", "kim＠x.com": "full-width", "": "line 2: email: \"\" is empty",
	} {
		_, err := parseOrders([]byte(header + strings.Replace(good("goods-1"), "user1@mail.example", email, 1)))
		require.ErrorContains(t, err, want, email)
	}
	orders, err := parseOrders([]byte(header + strings.Replace(good("goods-1"), "user1@mail.example", " kim@BÜCHER.example", 1)))
	require.NoError(t, err)
	require.Equal(t, "kim@xn--bcher-kva.example", orders[0].Email)
}

func TestParseOrders_RefusesOtherFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, want string }{
		"empty":                     {"", "line 1: the file is empty"},
		"no lines":                  {header, "there are no orders"},
		"no header":                 {good("goods-1"), "line 1: does not name the columns with a separator"},
		"a column missing":          {strings.Replace(header, "item,", "", 1), "line 1: missing are item; the columns are order_key,"},
		"an unknown one":            {strings.Replace(header, "item", "thing", 1), `there is no column "thing"`},
		"a column twice":            {strings.Replace(header, "item", "kind", 1), `the column "kind" is there twice`},
		"a broken quote":            {header + good("goods-1") + `goods-2,"goo"ds` + "\n", "line 3"},
		"not UTF-8":                 {header + strings.Replace(good("goods-1"), "김민준", "\xb1\xe8", 1), "is not UTF-8"},
		"UTF-16":                    {"\xff\xfeo\x00r\x00d\x00e\x00r\x00", "is not UTF-8"},
		"UTF-16, no mark":           {"o\x00r\x00d\x00e\x00r\x00", "is not UTF-8"},
		"a picture":                 {"\x89PNG\r\n\x1a\n\x00\x00", "is not UTF-8"},
		"more faults than reported": {header + strings.Repeat("x\n", 2*maxFaults), "\nand 20 more"},
	} {
		_, err := parseOrders([]byte(c.file))
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestParseOrders_AcceptsColumnsInAnyOrder(t *testing.T) {
	t.Parallel()
	columns := strings.Split(strings.TrimSpace(header), ",")
	values := strings.Split(strings.TrimSpace(good("goods-1")), ",")
	for i := range len(columns) / 2 {
		j := len(columns) - 1 - i
		columns[i], columns[j], values[i], values[j] = columns[j], columns[i], values[j], values[i]
	}
	want, err := parseOrders([]byte(header + good("goods-1")))
	require.NoError(t, err)
	got, err := parseOrders([]byte("\uFEFF" + strings.Join(columns, ",") + "\r\n" + strings.Join(values, ",") + "\r\n"))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestLoadOrders_CountLimitsOrRepeats(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mine.csv")
	require.NoError(t, os.WriteFile(path, []byte(header+good("goods-1")+good("goods-b")), 0o600))
	for count, want := range map[int]string{0: "goods-1 goods-b", 1: "goods-1", 5: "goods-1 goods-b goods-1-2 goods-b-2 goods-1-3"} {
		all, err := loadOrders(path, count)
		require.NoError(t, err)
		var keys []string
		for _, o := range all {
			keys = append(keys, o.Key)
		}
		require.Equal(t, want, strings.Join(keys, " "))
	}
	require.NoError(t, os.WriteFile(path, []byte(header+good("goods-1")+good("goods-1-2")), 0o600))
	_, err := loadOrders(path, 4)
	require.ErrorContains(t, err, "--count 4")
	_, err = loadOrders(filepath.Join(t.TempDir(), "none.csv"), 0)
	require.Equal(t, errs.Invalid, errs.KindOf(err))
}

var faultForm = regexp.MustCompile(`^(line \d+: |.*on line \d+|and \d+ more$)`)

func FuzzParseOrders(f *testing.F) {
	f.Add([]byte(header + good("goods-1") + good("goods-2")))
	f.Add([]byte(header + "goods-1,\"goods\",\n"))
	f.Add([]byte("\uFEFF" + header + strings.ReplaceAll(good("goods-9"), ",", ", ")))
	f.Add(bytes.Repeat([]byte("\","), 50))
	f.Fuzz(func(t *testing.T, file []byte) {
		all, err := parseOrders(file)
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !faultForm.MatchString(line) {
					t.Fatalf("a fault without its line: %q", line)
				}
			}
			return
		}
		seen := map[string]bool{}
		for _, o := range all {
			if seen[o.Key] || o.Amount < 1 || !keyForm.MatchString(o.Key) || o.Address.Name == "" {
				t.Fatalf("taken: %+v", o)
			}
			seen[o.Key] = true
		}
		if len(all) == 0 {
			t.Fatal("no orders and no error")
		}
	})
}
