package dataplatform_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"millrace/modules/dataplatform"
	"millrace/modules/delivery/deliveryapi"
	"millrace/modules/payment/paymentapi"
	"millrace/platform/bus"
	"millrace/platform/bus/bustest"
)

// It goes through all steps: transport, router, staged row, file.
func TestModule_WritesEachEventOfEachModuleOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := bustest.Start(t, func(db *bus.DB) bustest.Module {
		return dataplatform.New(db, dataplatform.Config{Dir: dir, FlushRows: 100, FlushEvery: 50 * time.Millisecond})
	}, paymentapi.Completed{}, deliveryapi.Shipped{})

	d.When(paymentapi.Completed{OrderKey: "goods-17", Amount: 12000, Currency: "KRW"}, deliveryapi.Shipped{OrderKey: "goods-17"})
	d.ThenNothing() // the module publishes nothing
	d.ThenRow(`SELECT count(*), count(DISTINCT message_id), min(key), max(key), min(sequence) FROM record`, 2, 2, "goods-17", "goods-17", 1)
	d.ThenAgainNothing()
	d.ThenRow(`SELECT count(*) FROM record`, 2)
	require.Empty(t, d.DeadLetters())

	var files struct {
		Files []struct {
			Name string `json:"name"`
			Rows int    `json:"rows"`
		} `json:"files"`
	}
	filed := 0
	require.Eventually(t, func() bool {
		require.NoError(t, json.Unmarshal(d.Given(`GET /dataplatform/files`, "").Body.Bytes(), &files))
		filed = 0
		for _, f := range files.Files {
			filed += f.Rows
		}
		return filed >= 2
	}, 60*time.Second, 20*time.Millisecond)
	require.Equal(t, 2, filed)

	type row struct {
		Type    string `parquet:"type"`
		Payload string `parquet:"payload"`
	}
	types := map[string]int{}
	for _, f := range files.Files {
		rows, err := parquet.ReadFile[row](filepath.Join(dir, f.Name))
		require.NoError(t, err)
		for _, r := range rows {
			types[r.Type]++
			require.Contains(t, r.Payload, `"orderKey":"goods-17"`)
		}
	}
	require.Equal(t, map[string]int{"payment.completed": 1, "delivery.shipped": 1}, types)
}

// Each module's role gives its own messages whatever id it likes.
func TestModule_RecordsEventsOfTwoModulesWithTheSameID(t *testing.T) {
	t.Parallel()
	var db *bus.DB
	d := bustest.Start(t, func(of *bus.DB) bustest.Module {
		db = of
		return dataplatform.New(db, dataplatform.Config{Dir: t.TempDir(), FlushRows: 100, FlushEvery: time.Hour})
	}, paymentapi.Completed{}, deliveryapi.Shipped{})
	d.When(deliveryapi.Shipped{OrderKey: "goods-17"})
	d.ThenRow(`SELECT count(*) FROM record`, 1)
	require.NoError(t, db.InTx(t.Context(), func(tx *bus.Tx) error {
		_, err := tx.ExecContext(t.Context(), `SELECT payment.append_log_one(partition, id, 'payment.completed', key, convert_to($1, 'UTF8'), metadata) FROM delivery.log`,
			`{"orderKey":"goods-17","amount":12000,"currency":"KRW"}`)
		return err
	}))
	d.ThenRow(`SELECT string_agg(type || ' ' || topic, ', ' ORDER BY type) FROM record`, "delivery.shipped delivery.events, payment.completed payment.events")
	require.Empty(t, d.DeadLetters())
}
