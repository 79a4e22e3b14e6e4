package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/bus/kafkabridge/fakebroker"
	"millrace/platform/postgres/pgtest"
)

func TestOperator_ReadsDatabaseWithSomeModules(t *testing.T) {
	t.Parallel()
	environ := []string{
		"MILLRACE_TRANSPORT=kafka", "MILLRACE_KAFKA_BROKERS=127.0.0.1:9", "MILLRACE_DATABASE_URL=" + pgtest.URL(t),
	}
	for _, args := range [][]string{{"deadletters"}, {"trace", "goods-1"}} {
		code, _, complaint := try(t, environ, args...)
		require.Equal(t, exitFailed, code, "%v", args)
		require.Contains(t, complaint, "millrace migrate", "%v on an empty database", args)
	}
	code, _, complaint := try(t, environ, "migrate", "--modules", "payment,delivery")
	require.Zero(t, code, complaint)

	code, out, complaint := try(t, environ, "deadletters")
	require.Zero(t, code, complaint)
	require.Contains(t, out, "There are no dead letters.")
	code, _, complaint = try(t, environ, "trace", "goods-1")
	require.Equal(t, exitFailed, code)
	require.Contains(t, complaint, `no message speaks of "goods-1"`)
	code, _, complaint = try(t, environ, "deadletters", "retry", "delivery/17", "inquiry/17")
	require.Equal(t, exitFailed, code)
	require.Contains(t, complaint, "delivery/17")
	require.NotContains(t, complaint, "does not exist", "a module that is not here is no fault of the database")
}

// serveHalf serves some modules on a database of their own until the test ends.
func serveHalf(t *testing.T, modules, database string, environ []string) (url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	logged, ended := &record{}, make(chan int, 1)
	environ = append([]string{"MILLRACE_DATABASE_URL=" + database, "MILLRACE_DATA_DIR=" + t.TempDir(), "MILLRACE_HTTP_ADDRESS=127.0.0.1:0"}, environ...)
	go func() {
		ended <- run(ctx, []string{"serve", "--modules", modules}, environ, in, logged)
		_ = in.Close() // it has no error
	}()
	t.Cleanup(func() {
		cancel()
		require.Zero(t, <-ended, logged)
	})
	var line [200]byte
	n, err := out.Read(line[:])
	require.NoError(t, err, logged)
	_, url, found := strings.Cut(strings.TrimSpace(string(line[:n])), "is ready: ")
	require.True(t, found, "%s", line)
	go func() { _, _ = io.Copy(io.Discard, out) }() // to its end
	return strings.TrimSuffix(url, "/")
}

// TestOperator_ReadsDatabasesOfSplitModules pays a deposit of a consultation that
// does not exist. The dead letter is in another database than the payment.
func TestOperator_ReadsDatabasesOfSplitModules(t *testing.T) {
	t.Parallel()
	broker, err := fakebroker.Start()
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	seed, order := uint64(1), "deposit-900001"
	for simulator.PlanFor(seed, order, 1).Status != gateway.Approved {
		seed++
	}
	environ := []string{
		"MILLRACE_TRANSPORT=kafka", "MILLRACE_KAFKA_BROKERS=" + strings.Join(broker.Addresses(), ","), "MILLRACE_DATABASE_MAX_CONNS_PER_MODULE=5",
		fmt.Sprintf("MILLRACE_PAYMENT_GATEWAY_SIMULATOR_SEED=%d", seed),
	}
	one, other := pgtest.URL(t), pgtest.URL(t)
	file := filepath.Join(t.TempDir(), "database.url")
	require.NoError(t, os.WriteFile(file, []byte(one+"\n"), 0o600))
	look := append([]string{"MILLRACE_DATABASE_PARTS=" + file + "," + other, "MILLRACE_LOG_LEVEL=warn"}, environ...)
	first := serveHalf(t, "payment,delivery,inquiry", one, environ)
	second := serveHalf(t, allBut("payment", "delivery", "inquiry"), other, environ)
	ask := func(method, path, body string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Idempotency-Key", "one")
		response, err := client.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Less(t, response.StatusCode, 300)
	}
	ask(http.MethodPut, second+"/contacts/kim", `{"email":"kim@example.com","language":"en"}`)
	ask(http.MethodPut, second+"/contacts/77", `{"email":"lee@example.com","language":"en"}`)
	ask(http.MethodPost, first+"/payments", `{"orderKey":"`+order+`","userId":"kim","amount":12000,"currency":"KRW","method":"card"}`)

	// Wait until both databases have the messages.
	var printed, complaint string
	defer func() {
		if t.Failed() {
			t.Log(printed, complaint)
		}
	}()
	require.Eventually(t, func() bool {
		var code int
		code, printed, complaint = try(t, look, "trace", order)
		return code == 0 && strings.Contains(printed, "dead") && strings.Contains(printed, "dataplatform") && strings.Contains(printed, "notification.sent")
	}, time.Minute, 200*time.Millisecond)
	require.Empty(t, complaint, "all modules are there")
	require.Contains(t, printed, "published by payment")
	require.Contains(t, printed, "modules/consultation/module.go:")

	ask(http.MethodPost, second+"/consultations", `{"hospitalId":4848,"memberId":77}`)
	require.Eventually(t, func() bool {
		_, printed, complaint = try(t, look, "trace", "5600000")
		return strings.Contains(printed, "published by inquiry, because of consultation.created") && strings.Contains(printed, "published by notification")
	}, time.Minute, 200*time.Millisecond)

	code, listed, complaint := try(t, look, "deadletters")
	require.Zero(t, code, complaint)
	letter := regexp.MustCompile(`consultation/\d+`).FindString(listed) // the sequence may have skipped numbers
	require.NotEmpty(t, letter, listed)
	code, printed, complaint = try(t, look, "deadletters", "retry", letter)
	require.Zero(t, code, complaint)
	require.Contains(t, printed, "is tried again")
	require.Eventually(t, func() bool {
		code, printed, complaint = try(t, look, "deadletters", "discard", letter, "--reason", "a test order", "--by", "kim")
		return code == 0
	}, time.Minute, 100*time.Millisecond)
	_, listed, _ = try(t, look, "deadletters")
	require.Contains(t, listed, "There are no dead letters.")

	// If a database cannot be read, the command fails but prints the rest.
	code, printed, complaint = try(t, append(look, "MILLRACE_DATABASE_PARTS="+one+","+filepath.Join(t.TempDir(), "nothing")), "trace", order)
	require.Equal(t, exitUsage, code)
	require.Contains(t, printed, "payment.completed")
	require.NotContains(t, printed, "consultation/handlers.go")
	require.Contains(t, complaint, "database.parts")
	require.Contains(t, complaint, "not looked at")
	require.Contains(t, complaint, `"missing":["`+strings.ReplaceAll(allBut("payment", "delivery", "inquiry"), ",", `","`)+`"]`)
	_, _, complaint = try(t, append(look, "MILLRACE_DATABASE_PARTS=host=db password=canary"), "trace", order)
	require.Contains(t, complaint, "database.parts")
	require.NotContains(t, complaint, "canary")
}
