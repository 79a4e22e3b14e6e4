package strictjson_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/platform/strictjson"
)

type inner struct {
	Amount int `json:"amount"`
}

type base struct {
	OrderKey string `json:"orderKey"`
}

type message struct {
	base
	Amount int              `json:"amount"`
	Note   string           `json:"note,omitempty"`
	At     time.Time        `json:"at,omitzero"`
	Part   *inner           `json:"part"`
	Parts  []inner          `json:"parts"`
	ByName map[string]inner `json:"byName"`
	Raw    json.RawMessage  `json:"raw"`
	Hidden string           `json:"-"`
	Plain  string
}

func TestUnmarshal_AcceptsUnambiguousInput(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{}`,
		` {"orderKey":"goods-1","amount":1,"at":"2026-01-02T03:04:05Z"} `,
		`{"\u0061mount":1,"note":"\u00e9 é 한"}`,
		`{"future":{"AMOUNT":1,"amount":2},"amount":3}`, // unknown keys, as of a later version
		`{"raw":{"AMOUNT":1},"hidden":1,"HIDDEN":2}`,
		`{"part":{"amount":1},"parts":[{"amount":1},{"amount":2}],"byName":{"a":{"amount":1},"A":{"amount":2}}}`,
		`{"part":null,"parts":null,"byName":null}`,
	} {
		var got, want message
		require.NoError(t, strictjson.Unmarshal([]byte(text), &got), text)
		require.NoError(t, json.Unmarshal([]byte(text), &want))
		require.Equal(t, want, got, text)
	}
	var anything any
	require.NoError(t, strictjson.Unmarshal([]byte(`{"a":[1,{"B":2}]}`), &anything))
	require.Error(t, strictjson.Unmarshal([]byte(`{"amount":"x"}`), &message{}), "encoding/json refuses it")
}

func TestUnmarshal_RejectsAmbiguousInput(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"AMOUNT":1}`:                    "the key amount is written in another case",
		`{"amount":1,"Amount":2}`:         "the key amount is written in another case",
		`{"orderkey":"x"}`:                "the key orderKey is written in another case",
		`{"or\u0064er\u212Aey":"x"}`:      "the key orderKey is written in another case", // U+212A, the Kelvin sign
		`{"plain":"x"}`:                   "the key Plain is written in another case",
		`{"amount":1,"amount":1}`:         "the key amount comes twice",
		`{"amount":1,"\u0061mount":2}`:    "the key amount comes twice",
		`{"kim":1,"kim":2}`:               "a key comes twice",
		`{"future":{"kim":1,"kim":2}}`:    "a key comes twice",
		`{"part":{"Amount":1}}`:           "the key amount is written in another case",
		`{"parts":[{},{"AMOUNT":1}]}`:     "the key amount is written in another case",
		`{"byName":{"x":{"AMOUNT":1}}}`:   "the key amount is written in another case",
		`{"byName":{"x":{},"x":{}}}`:      "a key comes twice",
		"{\"note\":\"\xff\"}":             "not JSON at byte 9",
		`{"note":"\ud800"}`:               "not JSON at byte 9",
		`{"amount":1} {}`:                 "invalid character '{' after top-level value",
		`{"amount":`:                      "not JSON at byte 10",
		``:                                "EOF",
		`{"amount":1,}`:                   "not JSON at byte 11",
		`{"parts":[{"amount":1} {"a":1`:   "not JSON at byte 23",
		"\uFEFF" + `{"amount":1}`:         "not JSON at byte 0",
		`{"amount":1,"amount":{"kim":1}}`: "the key amount comes twice",
	} {
		require.ErrorContains(t, strictjson.Unmarshal([]byte(text), &message{}), want, text)
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	type event struct {
		PaymentID, OrderKey, OrderKind, UserID, Currency, Provider, TransactionKey string
		Amount                                                                     int64
		OccurredAt                                                                 time.Time
	}
	data, err := json.Marshal(event{"01a227d0-8e46-742c-bf53-381d9d186248", "goods-17", "goods", "user-9", "KRW", "gateway", "01a227d0-8e46-742c-bf53-381d9d186249", 15000, time.Now()})
	require.NoError(b, err)
	for name, decode := range map[string]func([]byte, any) error{"Plain": json.Unmarshal, "Strict": strictjson.Unmarshal} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var e event
				if err := decode(data, &e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
