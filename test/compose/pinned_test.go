package compose

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Accepts digests in the form that a comment in the Dockerfile describes.
func TestPinned_TakesDigests(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, image := range []string{"alpine:3.22.2", "alpine:3.22.2" + digest, "axllent/mailpit:v1.31.1" + digest} {
		require.True(t, pinned(image), image)
	}
	for _, image := range []string{"alpine", "alpine:latest", "alpine@sha256:0123", "alpine:3.22.2@sha256:0123"} {
		require.False(t, pinned(image), image)
	}
}
