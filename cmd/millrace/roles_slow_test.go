//go:build slow

package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"millrace/platform/bus/kafkabridge/fakebroker"
)

// Six processes each. TestRoles_OneProcessUsesEachModulesRole is in the default tier.

func TestRoles_ModulesShareADatabase(t *testing.T) {
	t.Parallel()
	s := newSplit(t, nil)
	s.story()
	s.unhindered()

	// Commands that only the owner may run report that to other users.
	for _, args := range [][]string{{"transport", "kafka"}, {"migrate"}} {
		code, _, complaint := try(t, s.as("payment", "in_payment"), args...)
		require.Equal(t, exitFailed, code, "%v", args)
		require.Contains(t, complaint, "does not own the tables of this database", "%v", args)
	}
	// A module's role can read its module, and is warned that it cannot read others.
	code, printed, complaint := try(t, s.as("payment", "in_payment"), "trace", goods)
	require.Zero(t, code, complaint)
	require.Contains(t, printed, "payment.completed")
	require.NotContains(t, printed, "delivery.shipped")
	require.Contains(t, complaint, "may not see all modules")
	code, printed, complaint = try(t, s.as("payment", "owner"), "trace", goods)
	require.Zero(t, code, complaint)
	require.Contains(t, printed, "delivery.shipped")
	s.do("payment", `CREATE ROLE `+s.prefix+`nobody LOGIN PASSWORD '`+rolePassword+`'`)
	for _, args := range [][]string{{"trace", goods}, {"deadletters"}, {"deadletters", "retry", "payment/1"}} {
		code, _, complaint = try(t, s.as("payment", "nobody"), args...)
		require.Equal(t, exitFailed, code, "%v", args)
		require.Contains(t, complaint, "use the owner of the tables, or a member of a module's role", "%v", args)
	}
}

func TestRoles_ModulesOnKafkaDoNotOwnTheirDatabases(t *testing.T) {
	t.Parallel()
	broker, err := fakebroker.Start()
	require.NoError(t, err)
	t.Cleanup(broker.Close)
	s := newSplit(t, broker.Addresses())
	s.story()
	s.unhindered()
}
