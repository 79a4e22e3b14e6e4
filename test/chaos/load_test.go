//go:build chaos

package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	address = `{"name":"Kim","phone":"010-0000-0000","line1":"1 Sejong-daero","city":"Seoul","postcode":"04524","country":"KR"}`
	member  = "77" // the user who books consultations
)

// load runs clients that order goods and book consultations until end. Each repeats a
// request with the same idempotency key until it is accepted. An accepted request
// must be completed by the program.
type load struct {
	w       *world
	stop    chan struct{}
	clients sync.WaitGroup

	mu       sync.Mutex
	bases    []string // where the program may listen
	goods    []string // accepted orders
	booked   []string // accepted consultations
	refused  int      // requests that were not accepted
	watching bool
}

// load starts clients of the programs at the addresses.
func (w *world) load(clients int, addresses ...string) *load {
	l := &load{w: w, stop: make(chan struct{})}
	for _, at := range addresses {
		l.bases = append(l.bases, "http://"+at)
	}
	for c := range clients {
		l.clients.Go(func() { l.client(c) })
	}
	w.t.Cleanup(l.end)
	return l
}

// client makes orders one at a time, about thirty a second.
func (l *load) client(c int) {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for _, user := range []string{"kim", member} {
		l.accepted(c, tick.C, "PUT", "/contacts/"+user, `{"email":"`+user+`@example.com","language":"en"}`, "")
	}
	for n := 0; !l.stopped(); n++ {
		if n%5 == 4 {
			l.book(c, n, tick.C)
			continue
		}
		order := fmt.Sprintf("goods-%d-%d", c, n)
		if _, ok := l.accepted(c, tick.C, "PUT", "/deliveries/"+order+"/address", address, ""); !ok {
			return
		}
		if _, ok := l.accepted(c, tick.C, "POST", "/payments", payment(order, "kim"), order); !ok {
			return
		}
		l.mu.Lock()
		l.goods = append(l.goods, order)
		l.mu.Unlock()
		l.pause(tick.C)
	}
}

// book opens a consultation, pays its deposit, and cancels it. Whichever event the
// modules handle first, a deposit that was taken must be refunded.
func (l *load) book(c, n int, tick <-chan time.Time) {
	key := fmt.Sprintf("book-%d-%d", c, n)
	body, ok := l.accepted(c, tick, "POST", "/consultations",
		`{"hospitalId":4848,"memberId":`+member+`,"reservationAt":"2027-12-01T10:00:00+09:00"}`, key)
	if !ok {
		return
	}
	var opened struct {
		ID json.Number `json:"consultationId"`
	}
	if err := json.Unmarshal(body, &opened); err != nil {
		l.w.t.Errorf("%s: %v", body, err)
		return
	}
	if _, ok := l.accepted(c, tick, "POST", "/payments", payment("deposit-"+opened.ID.String(), member), key); !ok {
		return
	}
	if _, ok := l.accepted(c, tick, "POST", "/consultations/"+opened.ID.String()+"/moves", `{"to":"CANCELED","actor":"MEMBER"}`, key+"-off"); !ok {
		return
	}
	l.mu.Lock()
	l.booked = append(l.booked, opened.ID.String())
	l.mu.Unlock()
}

func payment(order, user string) string {
	return fmt.Sprintf(`{"orderKey":%q,"userId":%q,"amount":12000,"currency":"KRW","method":"card"}`, order, user)
}

// accepted repeats a request, at the addresses in turn, until it is accepted or the
// load is stopped.
func (l *load) accepted(c int, tick <-chan time.Time, method, path, body, key string) ([]byte, bool) {
	for try := c; ; try++ {
		l.mu.Lock()
		base := l.bases[try%len(l.bases)]
		l.mu.Unlock()
		status, answer := call(method, base+path, body, key)
		switch {
		case status >= 200 && status < 300:
			return answer, true
		case status >= 400 && status < 500 && status != http.StatusTooManyRequests:
			l.w.t.Errorf("%s %s: %d %s", method, path, status, answer)
			return nil, false
		}
		l.mu.Lock()
		l.refused++
		l.mu.Unlock()
		if l.stopped() {
			return nil, false // not accepted, so nothing to check
		}
		l.pause(tick)
	}
}

// at sets the program's present addresses.
func (l *load) at(addresses ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bases = nil
	for _, at := range addresses {
		l.bases = append(l.bases, "http://"+at)
	}
}

func (l *load) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

func (l *load) pause(tick <-chan time.Time) {
	select {
	case <-l.stop:
	case <-tick:
	}
}

// end stops the clients; an order or booking in progress is finished first.
func (l *load) end() {
	l.mu.Lock()
	if !l.watching {
		l.watching = true
		close(l.stop)
	}
	l.mu.Unlock()
	l.clients.Wait()
}

// accepts waits until n more orders are accepted.
func (l *load) accepts(n int) {
	l.w.t.Helper()
	goal := l.count() + n
	l.w.until(func() string {
		if now := l.count(); now < goal {
			return fmt.Sprintf("%d orders accepted, %d wanted", now, goal)
		}
		return ""
	})
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.goods) + len(l.booked)
}

// accounted ends the load and checks that nothing is lost, duplicated or dead.
func (l *load) accounted() {
	l.w.t.Helper()
	l.end()
	require.NotEmpty(l.w.t, l.goods)
	l.w.quiet()
	require.Empty(l.w.t, l.w.faults(l.goods, l.booked))
	l.w.t.Logf("%d orders and %d consultations are accounted for; %d requests were not accepted", len(l.goods), len(l.booked), l.refused)
}

var client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}

// call makes a request and returns its status and body; status 0 if there was no answer.
func call(method, url, body, key string) (int, []byte) {
	request, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		return 0, []byte(err.Error())
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return response.StatusCode, text
}
