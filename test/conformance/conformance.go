// Package conformance is one suite for all transports: what package bus
// promises, tried on whatever carries the messages.
//
// A transport's test calls Run with a Factory; nothing in the suite knows which
// transport it is. The modules' databases are PostgreSQL in any case, so the
// suite looks at effects, inboxes and dead letters there, never at counters in
// memory: what a handler wrote through its Tx is what happened.
//
// The other processes of the suite are real ones: the test binary executes
// itself (see Child), so that they can be killed and stopped.
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

// Process is a transport at work in one process.
type Process interface {
	DB(module string) *bus.DB
	Subscriber(module string) message.Subscriber
	Drain(ctx context.Context) error
	Close() error
}

// Options are the settings that the suite varies. Zero is the default.
type Options struct {
	Backoff      []time.Duration // the waits before a failed message is tried again
	KeepCommands time.Duration   // how long a handled command is kept
	Poll         time.Duration   // the fall-back for lost notifications
	LeaseTTL     time.Duration   // how long a process is believed in that says nothing
}

// World is where several processes meet.
type World interface {
	// Migrate prepares it for a topology; it may have been prepared before.
	Migrate(ctx context.Context, topo *bus.Topology) error
	// Open is a new process that hosts modules.
	Open(ctx context.Context, topo *bus.Topology, hosted []string, o Options) (Process, error)
	// Repeat delivers what a module has said so far once more, under the same ids.
	Repeat(ctx context.Context, module string) error
}

// Factory makes the world whose modules' database is at url.
type Factory func(url string) World

// Run runs the suite.
func Run(t *testing.T, world Factory) {
	for _, promise := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"AMessageHasOneEffectInOrderPerKeyThroughFailuresAndRetries", orderThroughFailures},
		{"ARepeatedMessageHasNoSecondEffect", repeated},
		{"ARollbackPublishesNothing", rollback},
		{"AnInboxRowExistsExactlyIfTheEffectCommitted", inboxAndEffect},
		{"ALateSubscriberReadsFromTheStart", lateSubscriber},
		{"ALateSubscriberReadsFromATimeOn", lateFromATime},
		{"ALateSubscriberReadsFromNowOn", lateFromNow},
		{"ATypeAddedToASubscriberIsHeardFromThenOn", typeAddedLater},
		{"ATypeThatOnlyANewerVersionKnowsIsHeldForIt", typeOfNewerVersion},
		{"ATypeThatOnlyANewerVersionKnowsIsHeldWhileNoneOfItLives", typeOfVersionTakenBack},
		{"ACommandReachesExactlyOneProcessAndIsGoneWhenHandled", commandOnce},
		{"ADeadLetterHoldsItsKeyOnlyAndIsReleasedInOrder", deadLetter},
		{"ADiscardedMessageReleasesItsKey", discarded},
		{"AReleaseThatRacesWithArrivalsKeepsTheOrder", releaseRaces},
		{"LargeAndOddMessagesArrive", largeAndOdd},
		{"WhatIsTooLargeOrHasNoKeyIsRefused", refused},

		{"EachFailureBlamesItsMessageOnlyAndEndsAsItsKindSays", failureTable},
		{"ContentionIsRetriedAtOnceAtMostFiveTimes", contention},
		{"ARealDeadlockAndARealLockTimeoutCostNoAttempt", realContention},
		{"AResourceErrorPausesAndUsesNoAttempt", resource},
		{"AHandlerThatHangsStopsItsPartitionOnly", hang},
		{"SeveralHandlersThatHangStopTheirPartitionsOnly", hangMany},
		{"AHandlerPastItsTimeLimitIsNotTriedTwice", slow},
		{"AModulesOwnMiddlewareRunsInsideTheTransactionOutermostFirst", ownMiddleware},
		{"EverySubscriptionIsAHandlerOfTheRouter", handlersVisible},

		{"WhenEveryConnectionIsKilledNothingIsLostDoubledOrDead", connectionsKilled},
		{"AProcessKilledAtAnyMomentLosesAndDoublesNothing", killed},
		{"PartitionsOfAKilledProcessAreTakenOverInFiveSeconds", takeOver(syscall.SIGKILL)},
		{"PartitionsOfAProcessThatStopsInATransactionAreTakenOverInFiveSeconds", takeOver(syscall.SIGSTOP)},
		{"AProcessThatWasStoppedDoesNoHarmWhenItGoesOn", stopped},
		{"ProcessesShareTheWork", shared},
		{"EveryPartitionIsWorkedOnWhileTwoVersionsLive", twoVersions},
		{"ARollingRestartToANewerVersionAndBackLosesAndDoublesNothing", rollingRestart},

		{"ConcurrentWritersAreReadInCommitOrderWithoutGaps", commitOrder},
		{"TransactionsThatPublishToManyTopicsDoNotDeadlock", noDeadlock},

		{"AShutdownUnderLoadLeavesNothingHalfDone", shutdown},
		{"ACancelledRouterEndsAndANewOneGoesOn", cancelled},
		{"ClosingWithAHangingHandlerEndsInTime", closeWhileHanging},

		{"ACommandStaysUntilItWasHandled", commandStays},
		{"ASlowHandlerDelaysNoOtherTopic", slowElsewhere},
		{"AnOpenTransactionOfTheClusterStopsNobody", openTransaction},
		{"HandlersOfOneQueueWorkAtTheSameTime", atOnce},
		{"AMessageArrivesWithoutAPoll", withoutPoll},
		{"AFailedAttemptLeavesNothing", failedAttempts},
		{"WaitsLongerThanTheTimeLimitEndInADeadLetterAndBlockNobody", longRetry},
		{"TheWaitsBetweenAttemptsAreThoseThatAreConfigured", configuredWaits},
		{"ADeadLetterIsTheMessageAsItWas", letterAsItWas},
		{"ACommandThatItsReceiverDoesNotKnowIsKeptForWhoDoes", unknownCommand},
		{"ABacklogIsHandledInRuns", inRuns},
		{"AShutdownLetsTheHandlerInFlightFinish", inFlightAtTheEnd},
		{"TopicsThatBeginAlikeAreKeptApart", alike},
	} {
		t.Run(promise.name, func(t *testing.T) {
			if !strings.Contains(promise.name, "FiveSeconds") { // which is measured before the others run
				t.Parallel()
			}
			promise.test(t, newBench(t, world))
		})
	}
}
