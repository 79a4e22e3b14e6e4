package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartitionOf_IsThatOfKafkasJavaPartitioner(t *testing.T) {
	t.Parallel()
	// From org.apache.kafka.common.utils.UtilsTest.testMurmur2.
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		require.Equal(t, want, int32(murmur2([]byte(key))), key) //nolint:gosec // the same bits
		require.Equal(t, int(want&0x7fffffff)%Partitions, PartitionOf(key), key)
		for _, n := range []int{1, 2, 4, 8, 16, 32} { // topics of Kafka with fewer partitions
			require.Equal(t, int(want&0x7fffffff)%n, PartitionOf(key)%n, fmt.Sprint(key, n))
		}
	}
}
