package stock

// Column is one way to carry and handle messages.
type Column struct {
	Name string
	// Stock says that the column's tests pass while the promise is broken.
	Stock bool
}

// Columns are those of the table of promises.
var Columns = []Column{
	{Name: "stock watermill-sql", Stock: true},
	{Name: "ours, on PostgreSQL"},
	{Name: "stock watermill-kafka", Stock: true},
	{Name: "ours, on Kafka"},
}

// Promise is a row of the table.
type Promise struct {
	Text  string
	Tests []string // one for each column; "" where there is nothing to compare
}

// conforms and onKafka are a test of the suite that every transport of ours
// passes; Kafka is the fake one. The suite is run over Apache Kafka, too, under
// the tag kafka.
func conforms(name string) string { return "TestMessagesThroughPostgreSQL/" + name }
func onKafka(name string) string  { return "TestMessagesThroughAFakeKafka/" + name }

// Promises is the table. A stock part is run with the rest of Watermill around
// it: Retry, the router and most of what is known of PoisonQueue are rows of
// watermill-sql's column, since it is there that they were tried. Where a row is
// about the tables that both transports of ours share, or about Kafka alone, the
// other's cells are empty.
var Promises = []Promise{
	// What is said is handled.
	{"A command stays in its queue until it was handled, also if a handler passes its deadline", []string{
		"TestStockQueueDeletesCommandsThatWereNeverAcked", conforms("ACommandStaysUntilItWasHandled"),
		"", onKafka("ACommandStaysUntilItWasHandled")}},
	{"A process that ends in the middle loses no command", []string{
		"TestStockQueueDeletesCommandsWhenItIsClosedInTheMiddle", conforms("ACommandStaysUntilItWasHandled"),
		"", onKafka("ACommandStaysUntilItWasHandled")}},
	{"A message whose handler failed is handled again, also where copies are dropped", []string{
		"TestStockDeduplicatorLosesAMessageThatIsDeliveredAgainAfterAFailure", conforms("AMessageHasOneEffectInOrderPerKeyThroughFailuresAndRetries"),
		"", onKafka("AMessageHasOneEffectInOrderPerKeyThroughFailuresAndRetries")}},
	{"A message whose handler ends its goroutine fails like any other, and those behind it are handled", []string{
		"TestStockRouterNeverHearsOfAHandlerThatEndsItsGoroutine", conforms("EachFailureBlamesItsMessageOnlyAndEndsAsItsKindSays"),
		"", onKafka("EachFailureBlamesItsMessageOnlyAndEndsAsItsKindSays")}},
	{"A command of a type that its receiver does not know is kept, and seen", []string{
		"TestStockCommandProcessorDropsACommandThatItDoesNotKnow", conforms("ACommandThatItsReceiverDoesNotKnowIsKeptForWhoDoes"),
		"", onKafka("ACommandThatItsReceiverDoesNotKnowIsKeptForWhoDoes")}},
	{"A queue has no end", []string{
		"TestStockQueueIsFullAfterTwoBillionCommands", "TestOffsetsGoOnBehindTwoBillion",
		"", ""}},
	{"A topic's messages reach that topic's subscribers only, however long its name", []string{
		"TestStockTopicsThatBeginAlikeShareATable", conforms("TopicsThatBeginAlikeAreKeptApart"),
		"", onKafka("TopicsThatBeginAlikeAreKeptApart")}},
	{"When nothing is handled any more, the program ends with an error", []string{
		"TestStockRouterEndsWithoutAnErrorWhenItsSubscriptionsAreGone", "TestARouterThatEndsByItselfEndsTheProgramWithAnError",
		"", ""}},

	// It takes effect once.
	{"Of a failed attempt nothing is left in the database", []string{
		"TestStockTransactionInContextIsNotRolledBackOnANack", conforms("AFailedAttemptLeavesNothing"),
		"", onKafka("AFailedAttemptLeavesNothing")}},
	{"A message that arrives twice takes effect once", []string{
		"TestStockSubscriberHandlesACopyAgain", conforms("ARepeatedMessageHasNoSecondEffect"),
		"TestStockKafkaSubscriberHandlesACopyAgain", onKafka("ARepeatedMessageHasNoSecondEffect")}},
	{"What was finished before a shutdown is not handled again", []string{
		"TestStockShutdownRepeatsWhatWasFinishedAndCancelsWhatIsInFlight", conforms("AShutdownUnderLoadLeavesNothingHalfDone"),
		"", onKafka("AShutdownUnderLoadLeavesNothingHalfDone")}},
	{"What is in flight at a shutdown is finished, not cancelled", []string{
		"TestStockShutdownRepeatsWhatWasFinishedAndCancelsWhatIsInFlight", conforms("AShutdownLetsTheHandlerInFlightFinish"),
		"", onKafka("AShutdownLetsTheHandlerInFlightFinish")}},
	{"What was finished before a connection broke is not handled again", []string{
		"TestStockLostConnectionRepeatsTheWholeBatch", conforms("WhenEveryConnectionIsKilledNothingIsLostDoubledOrDead"),
		"", onKafka("WhenEveryConnectionIsKilledNothingIsLostDoubledOrDead")}},

	// Nobody waits for a stranger.
	{"An open transaction of another topic, or of another database, delays nobody", []string{
		"TestStockSubscriberWaitsForAnyOpenTransactionOfTheCluster", conforms("AnOpenTransactionOfTheClusterStopsNobody"),
		"", onKafka("AnOpenTransactionOfTheClusterStopsNobody")}},
	{"Nor does a prepared transaction that nobody ends", []string{
		"TestStockSubscriberStopsForAPreparedTransactionThatNobodyEnds", "TestAPreparedTransactionThatNobodyEndsStopsNobody",
		"", ""}},
	{"A slow handler delays no other topic", []string{
		"TestStockSlowHandlerStopsEveryOtherTopic", conforms("ASlowHandlerDelaysNoOtherTopic"),
		"", onKafka("ASlowHandlerDelaysNoOtherTopic")}},
	{"Handlers of one queue work at the same time", []string{
		"TestStockConsumersOfOneQueueWorkOneAtATime", conforms("HandlersOfOneQueueWorkAtTheSameTime"),
		"", onKafka("HandlersOfOneQueueWorkAtTheSameTime")}},
	{"A message is delivered when it is committed, not at the next poll", []string{
		"TestStockSubscriberSleepsUntilTheNextPoll", conforms("AMessageArrivesWithoutAPoll"),
		"", onKafka("AMessageArrivesWithoutAPoll")}},
	{"While a failed message waits for its next attempt, other keys go on", []string{
		"TestStockRetryBlocksEveryKeyWhileItSleeps", conforms("WaitsLongerThanTheTimeLimitEndInADeadLetterAndBlockNobody"),
		"TestStockKafkaSubscriberTriesOneMessageForEver", onKafka("WaitsLongerThanTheTimeLimitEndInADeadLetterAndBlockNobody")}},
	{"Many messages cost less than one transaction, or one call of the broker, each", []string{
		"TestStockForwarderMovesOneMessageAtATime", conforms("ABacklogIsHandledInRuns"),
		"TestStockKafkaPublisherMakesARequestOfEachMessage", "TestManyRowsTakeFewCallsOfTheBroker"}},
	{"A pool that is too small is refused at the start", []string{
		"TestStockSubscribersAndTheirHandlersDeadlockOnASmallPool", "TestAPoolThatIsTooSmallOrTooLargeIsRefusedAtTheStart",
		"", ""}},
	{"A statement is parsed once per connection", []string{
		"TestStockDriverHasEachStatementParsedAgain", "TestATextWithArgumentsIsPreparedOncePerConnection",
		"", ""}},
	{"After a restore into a new cluster everything goes on where it was", []string{
		"TestStockSubscriberStallsAfterARestoreIntoANewCluster", "TestADumpThatIsRestoredIntoANewClusterGoesOn",
		"", ""}},

	// A failure is its message's alone, and ends.
	{"A message that keeps failing ends as a dead letter, however long the waits between its attempts", []string{
		"TestStockRetryLongerThanTheAckDeadlineNeverEnds", conforms("WaitsLongerThanTheTimeLimitEndInADeadLetterAndBlockNobody"),
		"TestStockKafkaSubscriberTriesOneMessageForEver", onKafka("WaitsLongerThanTheTimeLimitEndInADeadLetterAndBlockNobody")}},
	{"An SQL error of one message fails that message only", []string{
		"TestStockSQLErrorOfOneMessagePoisonsItsNeighbours", conforms("EachFailureBlamesItsMessageOnlyAndEndsAsItsKindSays"),
		"", onKafka("EachFailureBlamesItsMessageOnlyAndEndsAsItsKindSays")}},
	{"A statement that was cut off at its deadline costs its neighbours nothing", []string{
		"TestStockDriverLosesItsConnectionWithACancelledStatement", conforms("AHandlerPastItsTimeLimitIsNotTriedTwice"),
		"", onKafka("AHandlerPastItsTimeLimitIsNotTriedTwice")}},
	{"A shutdown makes no dead letter", []string{
		"TestStockPoisonQueuePoisonsHealthyMessagesAtAShutdown", conforms("AShutdownUnderLoadLeavesNothingHalfDone"),
		"TestStockKafkaPoisonQueuePoisonsHealthyMessagesAtAShutdown", onKafka("AShutdownUnderLoadLeavesNothingHalfDone")}},
	{"A database that is away makes no dead letter", []string{
		"TestStockPoisonQueuePoisonsHealthyMessagesWhenAConnectionBreaks", conforms("WhenEveryConnectionIsKilledNothingIsLostDoubledOrDead"),
		"", onKafka("WhenEveryConnectionIsKilledNothingIsLostDoubledOrDead")}},
	{"One failed message is one dead letter, whatever breaks meanwhile", []string{
		"TestStockPoisonQueuePublishesOutsideTheAcksTransaction", "TestAFailedMessageGoesAsideInTheTransactionThatMovesThePosition",
		"", ""}},
	{"A dead letter is the message as it was, with attempts and times beside it", []string{
		"TestStockPoisonQueueChangesTheMessageAndCountsNothing", conforms("ADeadLetterIsTheMessageAsItWas"),
		"", onKafka("ADeadLetterIsTheMessageAsItWas")}},
	{"Any bytes can be stored as a message", []string{
		"TestStockSchemaCannotStoreAMalformedMessage", "TestAMessageThatCannotBeReadGoesAsideAndOddMetadataDoesNotMatter",
		"", ""}},
	{"A malformed message becomes a dead letter, and those behind it are handled", []string{
		"TestStockPoisonQueueLetsAMalformedMessageBlockItsTopic", "TestAMessageThatCannotBeReadGoesAsideAndOddMetadataDoesNotMatter",
		"TestStockKafkaSubscriberStopsAtARecordThatCannotBeRead", "TestAPoisonedTopicAtAFakeBrokerHoldsUpNobody"}},
	{"A row that is no envelope blocks nobody", []string{
		"TestStockForwarderIsBlockedByARowThatIsNoEnvelope", "TestAMessageThatCannotBeReadGoesAsideAndOddMetadataDoesNotMatter",
		"", ""}},
	{"An event of a type that a subscriber does not know blocks nobody", []string{
		"TestStockEventProcessorBlocksOnAnEventThatItDoesNotKnow", conforms("ATypeAddedToASubscriberIsHeardFromThenOn"),
		"", onKafka("ATypeAddedToASubscriberIsHeardFromThenOn")}},
	{"An event of a type that only a newer version of its subscriber knows is kept for that version", []string{
		"TestStockEventProcessorLosesAnEventThatOnlyANewerVersionKnows", conforms("ATypeThatOnlyANewerVersionKnowsIsHeldForIt"),
		"", onKafka("ATypeThatOnlyANewerVersionKnowsIsHeldForIt")}},
	{"The waits between attempts are those that are configured", []string{
		"TestStockRetryWaitsLongerWhenItIsAskedWhetherToRetry", conforms("TheWaitsBetweenAttemptsAreThoseThatAreConfigured"),
		"", onKafka("TheWaitsBetweenAttemptsAreThoseThatAreConfigured")}},
	{"A handler's time limit ends with the handler: what follows has a context that lives", []string{
		"TestStockTimeoutLeavesItsDeadContextOnTheMessage", conforms("EachFailureBlamesItsMessageOnlyAndEndsAsItsKindSays"),
		"", onKafka("EachFailureBlamesItsMessageOnlyAndEndsAsItsKindSays")}},
	{"The log tells nothing of what messages contain", []string{
		"TestStockPartsLogWhatMessagesContain", "TestWhatIsNotKnownToBeHarmlessIsNotLogged",
		"", ""}},

	// On Kafka alone.
	{"A subscriber that is new hears what was said before it", []string{"", "",
		"TestStockKafkaGroupBeginsAtTheNewestRecord", "TestANewGroupReadsFromTheOldestRecord"}},
	{"What is left when a retention has passed a position is heard", []string{"", "",
		"TestStockKafkaGroupSkipsWhatARetentionHasLeft", "TestRecordsThatWereTrimmedPastTheGroupsOffsetDoNotHideTheRest"}},
	{"An answer that says no though the record was written doubles nothing", []string{"", "",
		"TestStockKafkaProducerWritesAgainWhatWasWritten", "TestAPassingFaultCostsNoErrorAndNoRepetition"}},
	{"What is confirmed is with all replicas", []string{"", "",
		"TestStockKafkaProducerIsContentWithOneReplica", "TestEachRecordIsConfirmedByAllReplicasAndWrittenOnce"}},
	{"What is confirmed is not lost with the broker that confirmed it", []string{"", "",
		"TestStockPublisherToApacheKafkaLosesWhatOnlyTheLeaderHad", "TestWhatOneBrokerOfThreeHadAloneIsNotConfirmed"}},
	{"What is sent again because a producer had given up takes effect once", []string{"", "",
		"TestStockKafkaIdempotenceEndsAtTheErrorThatPublishReturns", "TestWhatAnotherProducerSendsAgainHasOneEffect"}},
	{"What was finished before the brokers forgot a member takes no second effect", []string{"", "",
		"TestStockKafkaSubscriberRepeatsWhatWasFinishedBeforeALostSession", "TestALostSessionRepeatsNoEffect"}},
	{"Nor does what a group has handled whose offsets expired, or were deleted", []string{"", "",
		"TestStockKafkaGroupWhoseOffsetsAreGoneHandlesEverythingAgain", "TestAGroupWhoseOffsetsAreGoneHandlesNothingAgain"}},
	{"Another process joins though a message keeps failing, and what is healthy goes on", []string{"", "",
		"TestStockKafkaGroupStandsStillWhenAMemberJoinsBesideAMessageThatIsNackedForEver", "TestAMessageThatKeepsFailingHoldsUpNoRebalance"}},
	{"Brokers that hang make nobody wait who has something to say", []string{"", "",
		"TestStockKafkaPublishHasNoLimit", "TestABrokerThatHangsIsSeenAndWhatWaitedIsSent"}},
	{"What no broker takes is refused when it is said, and blocks nobody later", []string{"", "",
		"TestStockForwarderIsBlockedByAMessageThatKafkaRefuses", onKafka("WhatIsTooLargeOrHasNoKeyIsRefused")}},
	{"What is said about one thing stays in order: a message without a key is refused", []string{"", "",
		"TestStockKafkaMessagesHaveNoKey", onKafka("WhatIsTooLargeOrHasNoKeyIsRefused")}},
	{"A key's partition is where a Java program looks for it", []string{"", "",
		"TestStockKafkaPartitionOfAKeyIsNotThatOfJava", "TestAKeysPartitionIsThatOfJavasPartitioner"}},
	{"Records of others are told apart, with or without an id", []string{"", "",
		"TestStockKafkaRecordsOfOthersHaveAllTheSameID", "TestAForeignRecordGetsWhatItLacks"}},
	{"A handler that goes on after its partition went to another process does no harm", []string{"", "",
		"TestStockKafkaHandlerGoesOnWithAMessageThatIsAnothers", onKafka("AProcessThatWasStoppedDoesNoHarmWhenItGoesOn")}},
	{"Partitions that somebody added are read", []string{"", "",
		"TestStockKafkaSubscriberDoesNotSeePartitionsThatWereAdded", "TestPartitionsAddedAtAFakeBrokerAreUsed"}},
	{"A partition that stands still is noticed, and read all the same", []string{"", "",
		"TestStockKafkaSubscriberSaysNothingWhenAPartitionStandsStill", "TestASubscriptionThatStandsStillIsReadPastAndStartsAnew"}},
	{"A topic is made at the start, and never by naming it", []string{"", "",
		"TestStockKafkaPublisherCreatesATopicByNamingIt", "TestMissingTopicsAreCreatedAsConfiguredAndOnlyThose"}},
	{"A topic that was deleted comes back with what was said in it", []string{"", "",
		"TestStockKafkaTopicThatWasDeletedComesBackEmpty", "TestATopicThatWasDeletedComesBackWithWhatWasSaidInIt"}},
	{"Only what is meant for others leaves the program", []string{"", "",
		"TestStockKafkaMarshalerSendsEverythingThatIsInTheMetadata", "TestARecordIsACloudEventInBinaryMode"}},
}
