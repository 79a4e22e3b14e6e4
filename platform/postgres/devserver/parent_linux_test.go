package devserver_test

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDieWithParent_EndsChildOfKilledParent(t *testing.T) {
	t.Parallel()
	cmd, out, _, _ := startChild(t, "parent", "")
	require.NoError(t, cmd.Process.Kill())
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, out) // ends when the last process with the pipe's other end has ended
		ended <- err
	}()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("the follower lives on")
	}
}
