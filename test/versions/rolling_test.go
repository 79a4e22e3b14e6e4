package versions_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/modules/consultation/consultationapi"
	"millrace/modules/delivery/deliveryapi"
	"millrace/modules/inquiry/inquiryapi"
	"millrace/modules/notification/notificationapi"
	"millrace/modules/payment/paymentapi"
)

// contracts are all messages of the product, by name.
var contracts = map[string]any{
	"consultation.changed":   consultationapi.Changed{},
	"consultation.created":   consultationapi.Created{},
	"delivery.cancelled":     deliveryapi.Cancelled{},
	"delivery.delivered":     deliveryapi.Delivered{},
	"delivery.failed":        deliveryapi.Failed{},
	"delivery.prepared":      deliveryapi.Prepared{},
	"delivery.shipped":       deliveryapi.Shipped{},
	"inquiry.card_posted":    inquiryapi.CardPosted{},
	"inquiry.message_posted": inquiryapi.MessagePosted{},
	"notification.failed":    notificationapi.Failed{},
	"notification.send":      notificationapi.Send{},
	"notification.sent":      notificationapi.Sent{},
	"payment.completed":      paymentapi.Completed{},
	"payment.failed":         paymentapi.Failed{},
	"payment.refund":         paymentapi.Refund{},
	"payment.refunded":       paymentapi.Refunded{},
}

// A newer version may add a field to any object of any message: the golden wire
// forms, with one more in each, are read as if it were not there. (That the bus
// decodes so, and lays nothing aside, is the conformance suite's rolling restart.)
func TestEveryContractIsReadWithFieldsThatOnlyANewerVersionKnows(t *testing.T) {
	t.Parallel()
	topo, err := app.Topology()
	require.NoError(t, err)
	for _, name := range append(topo.Events(), topo.Commands()...) {
		require.Contains(t, contracts, name, "the table is not whole")
		module, _, _ := strings.Cut(name, ".")
		golden, err := filepath.Glob(filepath.Join("..", "..", "modules", module, module+"api", "testdata", name+"*.json"))
		require.NoError(t, err)
		require.NotEmpty(t, golden, name)
		for _, file := range golden {
			text, err := os.ReadFile(file) //nolint:gosec // a file of the repository
			require.NoError(t, err)
			var value any
			require.NoError(t, json.Unmarshal(text, &value))
			grown, err := json.Marshal(grow(value))
			require.NoError(t, err)
			require.Contains(t, string(grown), "ofANewerVersion", file)
			now, before := reflect.New(reflect.TypeOf(contracts[name])), reflect.New(reflect.TypeOf(contracts[name]))
			require.NoError(t, json.Unmarshal(text, before.Interface()), file)
			require.NoError(t, json.Unmarshal(grown, now.Interface()), "%s with fields of a newer version", file)
			require.Equal(t, before.Interface(), now.Interface(), file)
		}
	}
}

// grow adds a field to each object, however deep, but not to params: it is a
// dictionary of texts, whose names are those of a template and no fields.
func grow(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name := range v {
			if name != "params" {
				v[name] = grow(v[name])
			}
		}
		v["ofANewerVersion"] = map[string]any{"list": []any{1, "two", nil}}
	case []any:
		for i := range v {
			v[i] = grow(v[i])
		}
	}
	return value
}
