package parity

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	known   = "0199a0aa-0000-7000-8000-000000000001"
	unknown = "0199a0aa-0000-7000-8000-000000000002"
)

func some() *names {
	return &names{
		of:       map[string]string{known: "<payment 1 of goods-1>", "5600003": "consultation1", "CJ0000017": "<parcel of goods-1>"},
		sequence: map[string]string{known: "3"},
		began:    time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), end: time.Date(2026, 11, 23, 0, 5, 0, 0, time.UTC),
	}
}

func TestNames_ReplaceGeneratedValuesAndKeepInput(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		known:                              "<payment 1 of goods-1>",
		"msg_" + known + "_1":              "msg_<payment 1 of goods-1>_1",
		unknown:                            "<an id>",
		"deposit-5600003":                  "deposit-consultation1",
		`{"id":5600003}`:                   `{"id":consultation1}`,
		"56000030":                         "56000030",
		"CJ0000017":                        "<parcel of goods-1>",
		"2026-11-23T00:01:02Z":             "<a moment of the run>",
		"2026-11-23 00:01:02.123456+00":    "<a moment of the run>",
		"2026-11-23T09:01:02":              "<a moment of the run>", // local time in Seoul, without a zone
		"2026-11-23T09:01:02+09:00":        "<a moment of the run>",
		"2026-11-23T09:01:02Z":             "2026-11-23T09:01:02Z", // nine hours after the run
		"2027-03-03T16:30:00+09:00":        "2027-03-03T16:30:00+09:00",
		"http://127.0.0.1:44359/callbacks": "<a server of the run>/callbacks",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": "<trace>",
		"goods-20260001, 96,000원":                                 "goods-20260001, 96,000원",
	} {
		require.Equal(t, want, some().text(text), text)
	}
	require.Equal(t, "<the sender's number>", some().number(known, "3"))
	require.Equal(t, "4", some().number(known, "4"), "a number that is not the sender's is seen")
	require.Equal(t, "3", some().number(unknown, "3"))
}

func TestCompare_IgnoresOrderAndFindsEveryDifference(t *testing.T) {
	t.Parallel()
	a, b, c := row{"id": "a", "state": "paid"}, row{"id": "b", "state": "paid"}, row{"id": "b", "state": "failed"}
	verdict, _ := compare(line{"t", []row{a, b}}, line{"t", []row{b, a}}, nil)
	require.Equal(t, Identical, verdict)
	for _, other := range [][]row{{a}, {a, b, b}, {a, c}, {a, {"id": "b"}}, nil} {
		verdict, where := compare(line{"t", []row{a, b}}, line{"t", other}, adapted)
		require.Equal(t, Different, verdict, "%v", other)
		require.Len(t, where, 3, "how much, and both sides")
	}
	_, where := compare(line{"t", []row{a, b}}, line{"t", []row{a, c}}, nil)
	require.Equal(t, []string{"1 of 2 rows against 1 of 2", "id=b · state=paid", "id=b · state=failed"}, where)
}

func TestCompare_AdaptsOnlyFieldsWithReason(t *testing.T) {
	t.Parallel()
	reasons := map[string]string{"t.state": "by chance", "whole": "cut by time"}
	one := line{"t", []row{{"id": "a", "state": "paid"}}}
	verdict, because := compare(one, line{"t", []row{{"id": "a", "state": "failed"}}}, reasons)
	require.Equal(t, Adapted, verdict)
	require.Equal(t, []string{"state: by chance"}, because)
	verdict, _ = compare(one, line{"t", []row{{"id": "b", "state": "failed"}}}, reasons)
	require.Equal(t, Different, verdict, "another field differs too")
	verdict, _ = compare(line{"u", one.rows}, line{"u", []row{{"id": "a", "state": "failed"}}}, reasons)
	require.Equal(t, Different, verdict, "the reason is another line's")
	verdict, because = compare(line{"whole", one.rows}, line{name: "whole"}, reasons)
	require.Equal(t, Adapted, verdict)
	require.Equal(t, []string{"cut by time"}, because)
	verdict, _ = compare(line{"whole", one.rows}, line{"whole", one.rows}, reasons)
	require.Equal(t, Identical, verdict, "a reason is for what differs")
}

func TestMatch_MissingLineIsDifferent(t *testing.T) {
	t.Parallel()
	one := &observed{of: "one", lines: []line{{"both", nil}, {"left", []row{{"a": "1"}}}}}
	other := &observed{of: "other", lines: []line{{"both", nil}, {"right", []row{{"a": "1"}}}}}
	var got []string
	for _, l := range match(one, other) {
		got = append(got, l.Name+" "+l.Verdict)
	}
	require.Equal(t, []string{"both identical", "left different", "right different"}, got)
}
