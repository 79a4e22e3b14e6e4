package loyaltyapi_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/test/newmodule/loyalty/loyaltyapi"
)

func TestPointsAwarded_WireFormIsTheGoldenFile(t *testing.T) {
	t.Parallel()
	event := loyaltyapi.PointsAwarded{UserID: "kim", OrderKey: "goods-1", Points: 120}
	golden, err := os.ReadFile("testdata/" + event.EventName() + ".json")
	require.NoError(t, err)
	wire, err := json.Marshal(event)
	require.NoError(t, err)
	require.Equal(t, string(golden), string(wire)+"\n")
}
