package notification

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRecipientOf_EqualForAddressesOfOneMailbox(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"victim@gmail.com", "v.i.c.tim@gmail.com", "Victim+a@Gmail.com", "vic.tim+x.y@googlemail.com"},
		{"kim@example.com", "Kim@EXAMPLE.com", "kim+a@example.com"},
	} {
		for _, address := range same {
			require.Equal(t, recipientOf(same[0]), recipientOf(address), address)
		}
	}
	require.NotEqual(t, recipientOf("kim@example.com"), recipientOf("k.im@example.com"), "other providers distinguish dots")
}
