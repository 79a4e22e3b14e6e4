package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"millrace/platform/bus/internal/delivery"
	"millrace/platform/errs"
)

// fixedSubscriber has one message.
type fixedSubscriber struct{ messages chan *message.Message }

func (s fixedSubscriber) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	return s.messages, nil
}
func (s fixedSubscriber) Close() error { return nil }

// The batch is retried with savepoints, so a failure in it is not an error yet.
func TestRouter_DoesNotLogFailureInBatchThatIsRetried(t *testing.T) {
	t.Parallel()
	log := watermill.NewCaptureLogger()
	router, err := message.NewRouter(message.RouterConfig{}, routerLog{log})
	require.NoError(t, err)
	router.AddMiddleware(chain(slog.New(slog.DiscardHandler), HandlerTimeout)...)
	from := fixedSubscriber{make(chan *message.Message, 1)}
	cause := errors.New("the shelf is empty")
	router.AddConsumerHandler("store/paid", "paid", from, func(*message.Message) error { return cause })
	done := make(chan error, 1)
	go func() { done <- router.Run(t.Context()) }()
	<-router.Running()
	d := &delivery.Delivery{}
	msg := message.NewMessageWithContext(delivery.With(t.Context(), d), "1", nil)
	from.messages <- msg
	<-msg.Nacked()
	require.ErrorIs(t, d.Err, cause)
	close(from.messages)
	require.NoError(t, router.Close())
	require.NoError(t, <-done)
	require.False(t, log.HasError(&redo{cause}), "logged: %v", log.Captured())
	for _, entry := range log.Captured()[watermill.ErrorLogLevel] {
		require.NotContains(t, entry.Msg, "Handler returned error", "%v", entry.Err)
	}
}

func TestRouterLog_DropsOnlyWhatIsLoggedElsewhere(t *testing.T) {
	t.Parallel()
	cause := errors.New("the shelf is empty")
	for name, c := range map[string]struct {
		err    error
		logged bool
	}{
		"AnyOther":        {cause, true},
		"Shutdown":        {errs.New(errs.Shutdown, "closing"), true},
		"AlreadyLogged":   {fmt.Errorf("handler: %w", loggedError{cause}), false},
		"BatchIsRepeated": {&redo{cause}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := watermill.NewCaptureLogger()
			routerLog{log}.With(watermill.LogFields{"handler_name": "store/paid"}).Error("Handler returned error", c.err, nil)
			require.Equal(t, c.logged, log.HasError(c.err))
		})
	}
}
