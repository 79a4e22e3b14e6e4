package e2e_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"millrace/cmd/millrace/app"
	"millrace/config"
	"millrace/modules/payment/gateway"
	"millrace/modules/payment/gateway/simulator"
	"millrace/platform/bus"
	"millrace/platform/postgres/pgtest"
	"millrace/test/ports"
	"millrace/test/program"
)

// approved returns the name of an order whose first charge the simulator approves.
func approved(prefix string) string {
	for n := 1; ; n++ {
		order := fmt.Sprintf("%s-%d", prefix, n)
		if simulator.PlanFor(7, order, 1).Status == gateway.Approved {
			return order
		}
	}
}

func onePayment(t *testing.T, brokers []string) {
	t.Parallel()
	w := newWorld(t, brokers)
	p := w.serve("127.0.0.1:0")
	order := approved("goods-story")
	p.must("PUT", "/contacts/kim", `{"email":"kim@example.com","language":"ko"}`)
	p.must("PUT", "/deliveries/"+order+"/address", address)
	paid := p.must("POST", "/payments", payment(order, "kim"), "Idempotency-Key: one")
	w.eventually(fmt.Sprintf(`SELECT coalesce(max(state), '') FROM delivery.deliveries WHERE order_key = '%s'`, order), "delivered")
	require.Equal(t, "completed", p.must("GET", "/payments/"+paid["paymentId"].(string), "")["status"])

	consultation := p.must("POST", "/consultations", `{"hospitalId":4848,"memberId":77,"reservationAt":"2026-12-01T10:00:00+09:00"}`)
	id := fmt.Sprintf("%.0f", consultation["consultationId"])
	p.must("PUT", "/contacts/77", `{"email":"lee@example.com","language":"en"}`)
	p.must("POST", "/consultations/"+id+"/moves", `{"to":"FIXED","actor":"HOSPITAL"}`)
	p.must("POST", "/consultations/"+id+"/moves", `{"to":"CANCELED","actor":"MEMBER"}`)
	w.eventually(`SELECT coalesce(string_agg(card || ' ' || speaker, ', ' ORDER BY position), '') FROM inquiry.entry WHERE card IS NOT NULL`,
		"reservation_received CUSTOMER, reservation_confirmed HOSPITAL, reservation_cancelled HOSPITAL")
	w.quiet()
	require.Empty(t, w.deadLetters())

	var mails []string
	for _, m := range w.inbox.Messages() {
		mails = append(mails, strings.Join(m.To, ","))
	}
	require.GreaterOrEqual(t, strings.Count(strings.Join(mails, " "), "kim@example.com"), 3, "paid, shipped, delivered")
	require.GreaterOrEqual(t, strings.Count(strings.Join(mails, " "), "lee@example.com"), 3, "three cards")
	w.eventually(`SELECT ((SELECT count(*) FROM dataplatform.record r WHERE NOT EXISTS (SELECT 1 FROM dataplatform.file f WHERE f.written_at IS NOT NULL AND r.position BETWEEN f.first_position AND f.last_position)))::text`, "0")

	trace := w.run("trace", order)
	for _, part := range []string{"payment.completed", "delivery.delivered", "notification.sent", "modules/delivery/module.go:", "modules/notification/module.go:"} {
		require.Contains(t, trace, part)
	}
}

// run runs another command of the program on the same database.
func (w *world) run(args ...string) string {
	w.t.Helper()
	out, err := w.try(args...)
	require.NoError(w.t, err, out)
	return out
}

func (w *world) try(args ...string) (string, error) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), program.Build(w.t, ""), args...)
	cmd.Env = w.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func TestRouter_HasAHandlerForEverySubscription(t *testing.T) {
	t.Parallel()
	topo, err := app.Topology()
	require.NoError(t, err)
	cfg := config.Default()
	cfg.HTTP.Address, cfg.DataDir, cfg.Database.MaxConnsPerModule = "127.0.0.1:0", t.TempDir(), 5
	cfg.Database.URL = config.Secret(pgtest.URL(t))
	a, err := app.New(t.Context(), cfg, app.Options{Version: "test"})
	require.NoError(t, err)
	defer func() { require.NoError(t, a.Close()) }()
	var want, got []string
	for _, module := range topo.Modules() {
		for _, s := range topo.SubscriptionsOf(module) {
			want = append(want, bus.HandlerName(module, s.Type))
		}
	}
	for name := range a.Router().Handlers() {
		got = append(got, name)
	}
	require.ElementsMatch(t, want, got)
}

func aDeadLetter(t *testing.T, brokers []string) {
	t.Parallel()
	w := newWorld(t, brokers)
	p := w.serve("127.0.0.1:0")
	n := 900001 // the deposit of a consultation that does not exist
	for simulator.PlanFor(7, fmt.Sprintf("deposit-%d", n), 1).Status != gateway.Approved {
		n++
	}
	order := fmt.Sprintf("deposit-%d", n)
	p.must("POST", "/payments", payment(order, "kim"), "Idempotency-Key: one")
	w.eventually(`SELECT count(*)::text FROM consultation.parked_messages WHERE state = 'dead'`, "1")
	letter := "consultation/" + w.one(`SELECT id::text FROM consultation.parked_messages`) // its id is not 1 if an earlier transaction rolled back
	listed := w.run("deadletters")
	require.Contains(t, listed, letter)
	require.Contains(t, listed, order)
	require.Contains(t, w.run("deadletters", "retry", letter), "is tried again")
	w.eventually(`SELECT state || ' ' || attempts FROM consultation.parked_messages`, "dead 1")
	require.Contains(t, w.run("trace", order), "dead after 1 attempt")
	require.Contains(t, w.run("deadletters", "discard", letter, "--reason", "a test order"), "takes no effect")
	require.Contains(t, w.run("deadletters"), "no dead letters")
	out, err := w.try("deadletters", "retry", "consultation/999", "nobody/1")
	require.Error(t, err)
	require.Contains(t, out, "there is no such dead letter")
	require.Contains(t, out, "nobody/1")
}

// ordersPerClient bounds the load: the program accepts orders faster than it completes
// them, and a slow machine would have to complete all that came in the meantime.
const ordersPerClient = 60

// load starts eight clients that pay orders until each has paid ordersPerClient, or stop
// is closed. They repeat a request until it is accepted. orders waits for the clients and
// returns the accepted orders.
func (w *world) load(base *atomic.Pointer[string], stop <-chan struct{}) (orders func() []string) {
	var mu sync.Mutex
	var accepted []string
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Go(func() {
			for n := 0; n < ordersPerClient; n++ {
				select {
				case <-stop:
					return
				default:
				}
				order := fmt.Sprintf("goods-load-%d-%d", c, n)
				status, _ := call(w.t.Context(), "POST", *base.Load()+"/payments", payment(order, "kim"), "Idempotency-Key: "+order)
				if status >= 200 && status < 300 {
					mu.Lock()
					accepted = append(accepted, order)
					mu.Unlock()
				} else {
					n-- // again, with the same idempotency key
					select {
					case <-stop:
					case <-time.After(20 * time.Millisecond): // leaves CPU time for the program to start
					}
				}
			}
		})
	}
	return func() []string {
		clients.Wait()
		return accepted
	}
}

// accounted checks that every accepted order was completed exactly once.
func (w *world) accounted(orders []string) {
	w.t.Helper()
	w.quiet()
	require.Empty(w.t, w.deadLetters())
	require.NotEmpty(w.t, orders)
	w.eventually(`SELECT count(*)::text FROM payment.payments WHERE status NOT IN ('completed', 'failed', 'refunded')`, "0")
	w.quiet()
	require.Equal(w.t, fmt.Sprint(len(orders)), w.one(fmt.Sprintf(`SELECT count(DISTINCT order_key)::text FROM payment.payments WHERE order_key = ANY('{%s}')`, strings.Join(orders, ","))))
	require.Equal(w.t, w.one(`SELECT count(*)::text FROM payment.payments WHERE status = 'completed'`),
		w.one(`SELECT count(*)::text FROM payment.log WHERE type = 'payment.completed'`), "S1: a payment completed ⇔ one payment.completed")
	require.Equal(w.t, w.one(`SELECT count(*)::text FROM payment.log WHERE type = 'payment.completed'`), w.one(`SELECT count(*)::text FROM delivery.deliveries`))
	charged := map[string]int{}
	for _, charge := range w.gateway.Book().Charges {
		if charge.Status == gateway.Approved {
			charged[charge.OrderKey]++
		}
	}
	for order, times := range charged {
		require.Equal(w.t, 1, times, "S6: %s was charged %d times", order, times)
	}
}

// sigterm is guarantee L6: after SIGTERM under load the program exits with 0 in less
// than 25 s, no work is half done, and there is no dead letter.
func sigterm(t *testing.T, brokers []string) {
	t.Parallel()
	w := newWorld(t, brokers)
	listen := ports.Of(t)
	p := w.serve(listen)
	base := &atomic.Pointer[string]{}
	base.Store(&p.url)
	stop := make(chan struct{})
	orders := w.load(base, stop)
	w.eventually(`SELECT (count(*) > 30)::text FROM delivery.deliveries`, "true") // all modules are under load

	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		require.NoError(t, err, "exit code: %s", p.stderr)
	case <-time.After(25 * time.Second):
		t.Fatalf("still running after 25 s:\n%s", p.stderr)
	}
	require.Empty(t, w.deadLetters(), "a shutdown is no message's fault")

	w.serve(listen)
	close(stop)
	w.accounted(orders())
}

func killMinusNine(t *testing.T, brokers []string) {
	t.Parallel()
	w := newWorld(t, brokers)
	listen := ports.Of(t)
	p := w.serve(listen)
	base := &atomic.Pointer[string]{}
	base.Store(&p.url)
	stop := make(chan struct{})
	orders := w.load(base, stop)
	for kill := range 3 {
		w.eventually(fmt.Sprintf(`SELECT (count(*) > %d)::text FROM delivery.deliveries`, 40*(kill+1)), "true")
		require.NoError(t, p.Process.Kill())
		_ = p.Wait() // it was killed
		p = w.serve(listen)
	}
	close(stop)
	w.accounted(orders())
}
