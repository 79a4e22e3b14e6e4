package deliveryapi_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"millrace/modules/delivery/deliveryapi"
)

// The golden files are the wire format that other programs read. Fields may be
// added; nothing else may change.
func TestEvents_MatchGoldenFiles(t *testing.T) {
	t.Parallel()
	const id, order, user = "01930e5c-0a00-7000-8000-000000000017", "goods-17", "1001"
	events := []interface {
		EventName() string
		Key() string
	}{
		deliveryapi.Prepared{DeliveryID: id, OrderKey: order, UserID: user},
		deliveryapi.Shipped{DeliveryID: id, OrderKey: order, UserID: user, Carrier: "cj-logistics", TrackingNumber: "CJ000000000017"},
		deliveryapi.Delivered{DeliveryID: id, OrderKey: order, UserID: user, Carrier: "cj-logistics", TrackingNumber: "CJ000000000017"},
		deliveryapi.Failed{DeliveryID: id, OrderKey: order, UserID: user, Reason: "no carrier serves 00000"},
		deliveryapi.Cancelled{DeliveryID: id, OrderKey: order, UserID: user, Reason: "customer asked"},
	}
	for _, event := range events {
		if event.Key() != order {
			t.Errorf("%s: key is %q, want the order %q", event.EventName(), event.Key(), order)
		}
		golden, err := os.ReadFile(filepath.Join("testdata", event.EventName()+".json"))
		if err != nil {
			t.Fatal(err)
		}
		wire, err := json.MarshalIndent(event, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if string(wire) != strings.TrimSpace(string(golden)) {
			t.Errorf("%s on the wire:\n%s\nwant:\n%s", event.EventName(), wire, golden)
		}
		back := reflect.New(reflect.TypeOf(event))
		if err := json.Unmarshal(golden, back.Interface()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back.Elem().Interface(), event) {
			t.Errorf("%s read back as %+v", event.EventName(), back.Elem().Interface())
		}
	}
}
