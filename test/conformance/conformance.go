// Package conformance tests the guarantees of package bus on any transport.
//
// A transport's test calls Run with a Factory; the suite does not know which
// transport it runs on. The modules' databases are always PostgreSQL, so the
// suite checks effects, inboxes and dead letters there, not counters in memory:
// only what a handler wrote through its Tx counts.
//
// Other processes of a test are real operating-system processes: the test binary
// executes itself (see Child), so that they can be killed and stopped.
package conformance

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"millrace/platform/bus"
)

// Process is a transport that runs in one process.
type Process interface {
	DB(module string) *bus.DB
	Subscriber(module string) message.Subscriber
	Drain(ctx context.Context) error
	Close() error
}

// Options are the settings that the suite varies. Zero is the default.
type Options struct {
	Backoff      []time.Duration // the waits between the attempts of a failed message
	KeepCommands time.Duration   // retention of handled commands
	Poll         time.Duration   // poll interval, for notifications that get lost
	LeaseTTL     time.Duration   // how long a process keeps its lease without renewing it
}

// World is the shared environment of several processes: a database and, on Kafka, brokers.
type World interface {
	// Migrate prepares the world for a topology. It may be called again.
	Migrate(ctx context.Context, topo *bus.Topology) error
	// Open starts a process that hosts the given modules.
	Open(ctx context.Context, topo *bus.Topology, hosted []string, o Options) (Process, error)
	// Repeat delivers all events that a module has published so far again, with the same ids.
	Repeat(ctx context.Context, module string) error
}

// Factory makes a world; url is the database of its modules.
type Factory func(url string) World

// Run runs the suite.
func Run(t *testing.T, world Factory) {
	for _, promise := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"EffectsHappenOnceInKeyOrderDespiteFailures", orderThroughFailures},
		{"RedeliveredMessageHasNoSecondEffect", repeated},
		{"RollbackPublishesNothing", rollback},
		{"InboxRowAndEffectCommitTogether", inboxAndEffect},
		{"NewSubscriberStartsAtOldestEvent", lateSubscriber},
		{"TypeAddedToSubscriberIsDeliveredFromThenOn", typeAddedLater},
		{"UnknownTypeWaitsForNewerSubscriberVersion", typeOfNewerVersion},
		{"UnknownTypeWaitsWhileOnlyOlderVersionRuns", typeOfVersionTakenBack},
		{"CommandIsHandledByOneProcessThenDeleted", commandOnce},
		{"DeadLetterBlocksOnlyItsKeyAndReleasesInOrder", deadLetter},
		{"DiscardedMessageReleasesItsKey", discarded},
		{"ReleaseKeepsOrderWhileMessagesArrive", releaseRaces},
		{"LargeAndUnusualMessagesAreDelivered", largeAndOdd},
		{"MessageTooLargeOrWithoutKeyIsRefused", refused},

		{"FailureAffectsOnlyItsMessageAndFollowsItsErrorKind", failureTable},
		{"ContentionIsRetriedImmediatelyUpToFiveTimes", contention},
		{"DeadlockAndLockTimeoutUseNoAttempt", realContention},
		{"ResourceErrorPausesPartitionAndUsesNoAttempt", resource},
		{"EnvironmentFaultPausesPartitionAndUsesNoAttempt", environment},
		{"LockedBusTablePausesPartitionAndUsesNoAttempt", ownStatements},
		{"LockedTablePausesOnlyItsPartitions", manyLocked},
		{"RetryBlockedByLockUsesNoFurtherAttempt", lockedRetry},
		{"NextAttemptGeneratesNewKeyAfterCollision", keyCollision},
		{"HangingHandlerStopsOnlyItsPartition", hang},
		{"SeveralHangingHandlersStopOnlyTheirPartitions", hangMany},
		{"HandlerTimeoutIsNotRetriedImmediately", slow},
		{"ModuleMiddlewareRunsInsideTransactionInDeclaredOrder", ownMiddleware},
		{"EverySubscriptionIsListedByTheRouter", handlersVisible},

		{"KilledConnectionsLoseAndDuplicateNothing", connectionsKilled},
		{"KilledProcessLosesAndDuplicatesNothing", killed},
		{"FailoverFromKilledProcessTakesUnderFiveSeconds", failover(syscall.SIGKILL)},
		{"FailoverFromStalledProcessTakesUnderFiveSeconds", failover(syscall.SIGSTOP)},
		{"StalledProcessDoesNoHarmWhenItResumes", stopped},
		{"ProcessesShareThePartitionsEvenly", shared},
		{"EveryPartitionIsAssignedWhileTwoVersionsRun", twoVersions},
		{"RollingUpgradeAndRollbackLoseAndDuplicateNothing", rollingRestart},

		{"ConcurrentPublishersAreReadInCommitOrderWithoutGaps", commitOrder},
		{"TransactionsThatPublishToManyTopicsDoNotDeadlock", noDeadlock},

		{"ShutdownUnderLoadLeavesNothingHalfDone", shutdown},
		{"CancelledRouterStopsAndTheNextOneContinues", cancelled},
		{"CloseReturnsInTimeWithAHangingHandler", closeWhileHanging},

		{"CommandStaysQueuedUntilHandled", commandStays},
		{"SlowHandlerDelaysNoOtherTopic", slowElsewhere},
		{"OpenTransactionInClusterDelaysNoSubscriber", openTransaction},
		{"HandlersOfOneQueueRunConcurrently", atOnce},
		{"MessageIsDeliveredWithoutPolling", withoutPoll},
		{"FailedAttemptLeavesNoEffect", failedAttempts},
		{"BackoffLongerThanTimeLimitBlocksNoOtherKey", longRetry},
		{"ConfiguredBackoffIsUsed", configuredWaits},
		{"DeadLetterKeepsMessageUnchanged", deadLetterUnchanged},
		{"UnknownCommandWaitsForReceiverThatKnowsIt", unknownCommand},
		{"BacklogIsHandledInBatches", inBatches},
		{"ShutdownLetsInFlightHandlerFinish", inFlightAtTheEnd},
		{"TopicsWithCommonPrefixAreSeparate", commonPrefix},
	} {
		t.Run(promise.name, func(t *testing.T) {
			if !strings.Contains(promise.name, "FiveSeconds") { // the two time measurements run before the parallel tests
				t.Parallel()
			}
			promise.test(t, newBench(t, world))
		})
	}
}
