package store

import (
	"encoding/json"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

func TestDecodeMetadata_AgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	written, err := EncodeMetadata(message.Metadata{"ce_source": "payment", "traceparent": "00-a-b-01", "note": `a "quoted" \ line` + "\n", "name": "주문"})
	require.NoError(t, err)
	plain, err := EncodeMetadata(message.Metadata{"ce_source": "payment", "ce_time": "2026-01-02T03:04:05.678Z", "empty": ""})
	require.NoError(t, err)
	require.NotNil(t, plainMetadata(plain), "the usual text is read without encoding/json")
	for _, text := range []string{
		written, plain, `{}`, `{"a":"b"}`, `{ "a": "b" }`, `{"a":"b", "c":"d"}`, `{"a":"1","a":"2"}`, `{"a":"x\u0041"}`, `{"a":"é"}`, "{\"a\":\"\x80\"}",
		``, `{`, `}`, `null`, `[]`, `"a"`, `{"a"}`, `{"a":}`, `{"a":1}`, `{"a":null}`, `{"a":"b",}`, `{,"a":"b"}`, `{"a":"b""c":"d"}`, `{"a":"b"}}`,
		`{"a":{"b":"c"}}`, `{"a":"b","c"}`, `{"a":"b`, `{"a:"b"}`, `{a:"b"}`, `{"a":"b"x}`, `{"a""b"}`, "{\"a\":\"\n\"}", `{"":""}`, `{"a":"\"}`,
	} {
		var want message.Metadata
		if json.Unmarshal([]byte(text), &want) != nil {
			want = nil
		}
		require.Equal(t, want, DecodeMetadata([]byte(text)), "%q", text)
	}
}

func FuzzDecodeMetadata(f *testing.F) {
	f.Add(`{"a":"b","c":"d"}`)
	f.Add(`{"a":"\"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var want message.Metadata
		if json.Unmarshal([]byte(text), &want) != nil {
			want = nil
		}
		require.Equal(t, want, DecodeMetadata([]byte(text)))
	})
}

func BenchmarkDecodeMetadata(b *testing.B) {
	text := []byte(`{"ce_specversion":"1.0","ce_source":"payment","ce_time":"2026-01-02T03:04:05.678901Z","ce_dataschema":"payment.completed.v1","content-type":"application/json","correlationid":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","causationid":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"}`)
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			DecodeMetadata(text)
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			var m message.Metadata
			require.NoError(b, json.Unmarshal(text, &m))
		}
	})
}
