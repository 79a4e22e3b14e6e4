package consultationapi_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/consultation/consultationapi"
)

func at(t *testing.T, s string) consultationapi.Time {
	t.Helper()
	parsed, err := consultationapi.ParseTime(s)
	require.NoError(t, err)
	return parsed
}

// The golden files are the permanent wire format: every release must read them,
// and must write exactly the same bytes.
func TestEvents_MatchGoldenFiles(t *testing.T) {
	t.Parallel()
	raised, changed := at(t, "2025-03-29T15:38:32"), at(t, "2025-04-05T18:17:35")
	for file, event := range map[string]any{
		"consultation.changed.json": &consultationapi.Changed{
			ConsultationID: 5621989, HospitalID: 4848, TxDateTime: changed, RaisedAt: raised,
			StateTransition: consultationapi.To(consultationapi.Canceled), StateTransitionActor: consultationapi.Member, PrevState: consultationapi.Fixed,
		},
		"consultation.changed.without-a-move.json": &consultationapi.Changed{
			ConsultationID: 5621989, HospitalID: 4848, TxDateTime: changed, RaisedAt: raised,
		},
		"consultation.created.json": &consultationapi.Created{
			ConsultationID: 5621989, HospitalID: 4848, MemberID: 90210, TxDateTime: raised, RaisedAt: raised,
			StateTransition: consultationapi.To(consultationapi.Received), StateTransitionActor: consultationapi.Member,
		},
		"consultation.created.by-the-hospital.json": &consultationapi.Created{
			ConsultationID: 5621989, HospitalID: 4848, MemberID: 90210, TxDateTime: raised, RaisedAt: raised,
		},
	} {
		golden, err := os.ReadFile("testdata/" + file)
		require.NoError(t, err)
		wire, err := json.Marshal(event)
		require.NoError(t, err)
		require.Equal(t, string(bytes.TrimSpace(golden)), string(wire), file)

		var back any = new(consultationapi.Changed)
		if _, created := event.(*consultationapi.Created); created {
			back = new(consultationapi.Created)
		}
		require.NoError(t, json.Unmarshal(golden, back))
		require.Equal(t, event, back, file)
	}
}

func TestEvents_EveryGoldenFileIsTested(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("testdata")
	require.NoError(t, err)
	require.Len(t, files, 4)
}

func TestEvents_NamesKeysAndSchemas(t *testing.T) {
	t.Parallel()
	created, changed := consultationapi.Created{ConsultationID: 5621989}, consultationapi.Changed{ConsultationID: 5621989}
	require.Equal(t, "consultation.created", created.EventName())
	require.Equal(t, "consultation.changed", changed.EventName())
	require.Equal(t, "5621989", created.Key())
	require.Equal(t, "5621989", changed.Key())
	require.Equal(t, "consultation.created/1-fat", created.DataSchema())
	require.Equal(t, "consultation.changed/1-fat", changed.DataSchema())
}

// The time zone of a process is fixed at its start, so the test runs itself again
// in each zone.
func TestTime_IsSeoulTimeInEveryProcessZone(t *testing.T) {
	if os.Getenv("CONSULTATIONAPI_ZONE_CHILD") == "" {
		for _, zone := range []string{"UTC", "Asia/Seoul", "America/New_York"} {
			child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
			child.Env = append(os.Environ(), "TZ="+zone, "CONSULTATIONAPI_ZONE_CHILD=1")
			output, err := child.CombinedOutput()
			require.NoError(t, err, "under TZ=%s:\n%s", zone, output)
			require.Contains(t, string(output), "zone "+zone, "the child must have run under its zone")
		}
		return
	}
	t.Log("zone", os.Getenv("TZ"))

	instant := time.Date(2025, 4, 5, 9, 17, 35, 0, time.UTC)
	for _, same := range []time.Time{instant, instant.Local(), instant.Add(999 * time.Millisecond)} {
		require.Equal(t, "2025-04-05T18:17:35", consultationapi.At(same).String())
	}
	parsed := at(t, "2025-04-05T18:17:35")
	require.True(t, parsed.Instant().Equal(instant))
	require.True(t, parsed == consultationapi.At(instant.Local()), "the same second must be == however it was made")
	require.True(t, parsed.Equal(consultationapi.At(instant)))

	wire, err := json.Marshal(parsed)
	require.NoError(t, err)
	require.Equal(t, `"2025-04-05T18:17:35"`, string(wire))
}

func TestTime_RejectsOtherFormats(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`"2025-04-05T18:17:35Z"`, `"2025-04-05T18:17:35+09:00"`, `"2025-04-05T18:17:35.5"`, `"2025-04-05"`,
		`"2025-13-05T18:17:35"`, `"2025-04-05 18:17:35"`, `""`, `1743844655`, `"`, `{}`,
	} {
		var parsed consultationapi.Time
		require.Error(t, json.Unmarshal([]byte(bad), &parsed), bad)
	}
	var unknown consultationapi.Time
	require.NoError(t, json.Unmarshal([]byte(`null`), &unknown))
	require.True(t, unknown.IsZero())
	wire, err := json.Marshal(unknown)
	require.NoError(t, err)
	require.Equal(t, "null", string(wire))
	require.Empty(t, unknown.String())
}
