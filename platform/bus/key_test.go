package bus

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

func TestEnvelope_RefusesKeysThatNoMessageMayHave(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "a\x1b[2J", "a\nb", "a\tb", "\x00", "a\x7f", "a\u009b", "a\xff", strings.Repeat("k", MaxKey+1)} {
		_, err := newMessage(t.Context(), "shop", "shop.paid", key, map[string]int{}, Received{})
		require.Equal(t, errs.Invalid, errs.KindOf(err), "%q", key)
	}
	for _, key := range []string{"goods-17", "주문-1", strings.Repeat("k", MaxKey)} {
		_, err := newMessage(t.Context(), "shop", "shop.paid", key, map[string]int{}, Received{})
		require.NoError(t, err, "%q", key)
	}
}
