package kafkabridge

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/errs"
)

func TestRemove_DeletesTopicsWithPrefixOnly(t *testing.T) {
	t.Parallel()
	b := fake(t)
	cfg := configFor(b)
	require.Equal(t, errs.Invalid, errs.KindOf(Remove(t.Context(), cfg)), "no prefix")
	for _, name := range []string{"demo-1.shop.events", "demo-1.store.commands", "demo-2.shop.events", "shop.demo-1.events"} {
		require.NoError(t, b.CreateTopic(name, 1, nil))
	}
	cfg.Prefix = "demo-1."
	for range 2 { // nothing is there the second time
		require.NoError(t, Remove(t.Context(), cfg))
	}
	require.Nil(t, b.TopicInfo("demo-1.shop.events"))
	require.Nil(t, b.TopicInfo("demo-1.store.commands"))
	require.NotNil(t, b.TopicInfo("demo-2.shop.events"))
	require.NotNil(t, b.TopicInfo("shop.demo-1.events"))
}
