package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

type priced struct{ Amount int }

func (priced) EventName() string { return "till.priced" }
func (priced) Key() string       { return "k" }
func (p *priced) Validate() error {
	if p.Amount < 0 {
		return errs.New(errs.Invalid, "amount: must be 0 or more")
	}
	return nil
}

func TestOn_TakesAPointerToAMessage(t *testing.T) {
	t.Parallel()
	var got []*priced
	s := On(func(_ context.Context, _ *Tx, p *priced) error {
		got = append(got, p)
		return nil
	})
	require.Equal(t, "till.priced", s.Type)
	require.NoError(t, s.handle(t.Context(), nil, Received{Data: json.RawMessage(`{"Amount":7}`)}))
	require.Equal(t, []*priced{{Amount: 7}}, got)
	require.ErrorContains(t, s.handle(t.Context(), nil, Received{Data: json.RawMessage(`{"Amount":-7}`)}), "amount: must be 0 or more")
}

func TestOn_CallsValidateWithAPointerReceiver(t *testing.T) {
	t.Parallel()
	s := On(func(context.Context, *Tx, priced) error { return nil })
	require.ErrorContains(t, s.handle(t.Context(), nil, Received{Data: json.RawMessage(`{"Amount":-7}`)}), "amount: must be 0 or more")
}

// json.Unmarshal takes null for any type: a handler would get nil, or nothing.
func TestOn_APayloadOfNullIsUndecodable(t *testing.T) {
	t.Parallel()
	handled := 0
	for _, s := range []Subscription{
		On(func(context.Context, *Tx, *priced) error { handled++; return nil }),
		On(func(context.Context, *Tx, priced) error { handled++; return nil }),
	} {
		require.Equal(t, errs.Undecodable, errs.KindOf(s.handle(t.Context(), nil, Received{Data: json.RawMessage(" null\n")})))
	}
	require.Zero(t, handled)
}

// encoding/json would take any of these for the amount.
func TestOn_AFieldsKeyInAnotherCaseOrTwiceIsUndecodable(t *testing.T) {
	t.Parallel()
	handled := 0
	s := On(func(context.Context, *Tx, priced) error { handled++; return nil })
	for _, data := range []string{`{"AMOUNT":7}`, `{"Amount":7,"amount":-7}`, `{"Amount":7,"Amount":8}`} {
		err := s.handle(t.Context(), nil, Received{Data: json.RawMessage(data)})
		require.Equal(t, errs.Undecodable, errs.KindOf(err), data)
		require.ErrorContains(t, err, "the key Amount", data)
	}
	require.Zero(t, handled)
	require.NoError(t, s.handle(t.Context(), nil, Received{Data: json.RawMessage(`{"Amount":7,"Colour":{"amount":1}}`)}), "contracts grow by adding fields")
	require.Equal(t, 1, handled)
}

func TestTx_RefusesToPublishNil(t *testing.T) {
	t.Parallel()
	tx := &Tx{owner: "till"}
	require.ErrorContains(t, tx.Publish((*priced)(nil)), "publishes a nil event")
	require.ErrorContains(t, tx.Publish(nil), "publishes a nil event")
	require.ErrorContains(t, tx.Send(nil), "sends a nil command")
	_, err := newMessage(t.Context(), "till", "till.priced", "k", json.RawMessage("null"), Received{})
	require.ErrorContains(t, err, "encodes as null")
}

func TestSubscription_SourceIsTheLineThatSubscribes(t *testing.T) {
	t.Parallel()
	handler := func(context.Context, *Tx, priced) error { return nil }
	_, _, line, _ := runtime.Caller(0)
	on := On(handler)
	every := OnEvery(func(context.Context, *Tx, Received) error { return nil })
	require.Equal(t, fmt.Sprintf("platform/bus/on_test.go:%d", line+1), on.Source)
	require.Equal(t, fmt.Sprintf("platform/bus/on_test.go:%d", line+2), every.Source)
}
