package notificationapi_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"millrace/modules/notification/notificationapi"
)

// The golden files are the wire format that other programs read. A change here
// changes the contract: only new fields are allowed.
func TestWireFormat_MatchesGoldenFiles(t *testing.T) {
	t.Parallel()
	const id, cause = "01930e5c-0a00-7000-8000-000000000021", "01930e5c-0a00-7000-8000-000000000017"
	messages := map[string]interface{ Key() string }{
		notificationapi.Send{}.CommandName(): notificationapi.Send{
			UserID: "1001", Template: notificationapi.ReservationConfirmed, Subject: "goods-17",
			Params: map[string]string{notificationapi.ParamActor: "HOSPITAL", notificationapi.ParamConsultationID: "17"},
		},
		notificationapi.Sent{}.EventName(): notificationapi.Sent{
			NotificationID: id, UserID: "1001", Template: "payment_completed", Subject: "goods-17", CauseID: cause,
		},
		notificationapi.Failed{}.EventName(): notificationapi.Failed{
			NotificationID: id, UserID: "1001", Template: "payment_completed", Subject: "goods-17", CauseID: cause,
			Reason: "the mail server refused the recipient (550)",
		},
	}
	for name, message := range messages {
		if message.Key() != "goods-17" {
			t.Errorf("%s: key is %q, want the subject", name, message.Key())
		}
		golden, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		wire, err := json.MarshalIndent(message, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if string(wire) != strings.TrimSpace(string(golden)) {
			t.Errorf("%s on the wire:\n%s\nwant:\n%s", name, wire, golden)
		}
		back := reflect.New(reflect.TypeOf(message))
		if err := json.Unmarshal(golden, back.Interface()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back.Elem().Interface(), message) {
			t.Errorf("%s read back as %+v", name, back.Elem().Interface())
		}
	}
}
