package stock

// Column is one way to carry and handle messages.
type Column struct {
	Name string
	// Stock: the column's tests pass while the promise is broken.
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
func conforms(name string) string { return "TestBus_OverPostgreSQL/" + name }
func onKafka(name string) string  { return "TestBus_OverFakeKafka/" + name }

// Promises is the table. A stock part is run with the rest of Watermill around
// it: Retry, the router and most of PoisonQueue are rows of watermill-sql's
// column, since they were tried there. Where a row is about the tables that both
// of our transports share, or about Kafka alone, the other's cells are empty.
var Promises = []Promise{
	// Every message is handled.
	{"A command stays in its queue until it was handled, also if a handler exceeds its deadline", []string{
		"TestStockQueue_DeletesUnackedCommands", conforms("CommandStaysQueuedUntilHandled"),
		"", onKafka("CommandStaysQueuedUntilHandled")}},
	{"A process that is closed in the middle of a batch loses no command", []string{
		"TestStockQueue_DeletesCommandsWhenClosedDuringBatch", conforms("CommandStaysQueuedUntilHandled"),
		"", onKafka("CommandStaysQueuedUntilHandled")}},
	{"A message whose handler failed is handled again, also where duplicates are dropped", []string{
		"TestStockDeduplicator_LosesMessageRedeliveredAfterFailure", conforms("EffectsHappenOnceInKeyOrderDespiteFailures"),
		"", onKafka("EffectsHappenOnceInKeyOrderDespiteFailures")}},
	{"A message whose handler ends its goroutine fails like any other, and those behind it are handled", []string{
		"TestStockRouter_MissesHandlerThatEndsItsGoroutine", conforms("FailureAffectsOnlyItsMessageAndFollowsItsErrorKind"),
		"", onKafka("FailureAffectsOnlyItsMessageAndFollowsItsErrorKind")}},
	{"A command of a type that its receiver does not know is kept, and visible", []string{
		"TestStockCommandProcessor_DropsUnknownCommand", conforms("UnknownCommandWaitsForReceiverThatKnowsIt"),
		"", onKafka("UnknownCommandWaitsForReceiverThatKnowsIt")}},
	{"A queue never runs out of offsets", []string{
		"TestStockQueue_IsFullAfterTwoBillionCommands", "TestOffsetsGoOnBehindTwoBillion",
		"", ""}},
	{"A topic's messages reach that topic's subscribers only, however long its name", []string{
		"TestStockTopics_WithCommonPrefixShareTable", conforms("TopicsWithCommonPrefixAreSeparate"),
		"", onKafka("TopicsWithCommonPrefixAreSeparate")}},
	{"When nothing is handled any more, the program ends with an error", []string{
		"TestStockRouter_EndsWithoutErrorWhenSubscriptionsEnd", "TestApp_RouterEndIsAnError",
		"", ""}},

	// It takes effect once.
	{"A failed attempt leaves nothing in the database", []string{
		"TestStockTransaction_IsNotRolledBackOnNack", conforms("FailedAttemptLeavesNoEffect"),
		"", onKafka("FailedAttemptLeavesNoEffect")}},
	{"A message that arrives twice takes effect once", []string{
		"TestStockSubscriber_HandlesDuplicates", conforms("RedeliveredMessageHasNoSecondEffect"),
		"TestStockKafkaSubscriber_HandlesDuplicates", onKafka("RedeliveredMessageHasNoSecondEffect")}},
	{"Messages that were finished before a shutdown are not handled again", []string{
		"TestStockSubscriber_ShutdownRepeatsFinishedAndCancelsInFlight", conforms("ShutdownUnderLoadLeavesNothingHalfDone"),
		"", onKafka("ShutdownUnderLoadLeavesNothingHalfDone")}},
	{"Messages in flight at a shutdown are finished, not cancelled", []string{
		"TestStockSubscriber_ShutdownRepeatsFinishedAndCancelsInFlight", conforms("ShutdownLetsInFlightHandlerFinish"),
		"", onKafka("ShutdownLetsInFlightHandlerFinish")}},
	{"Messages that were finished before a connection broke are not handled again", []string{
		"TestStockSubscriber_RepeatsWholeBatchAfterLostConnection", conforms("KilledConnectionsLoseAndDuplicateNothing"),
		"", onKafka("KilledConnectionsLoseAndDuplicateNothing")}},

	// No subscriber waits for another.
	{"An open transaction of another topic, or of another database, delays no subscriber", []string{
		"TestStockSubscriber_WaitsForAnyOpenTransactionOfCluster", conforms("OpenTransactionInClusterDelaysNoSubscriber"),
		"", onKafka("OpenTransactionInClusterDelaysNoSubscriber")}},
	{"Nor does a prepared transaction that is never ended", []string{
		"TestStockSubscriber_StopsForAbandonedPreparedTransaction", "TestAPreparedTransactionThatNobodyEndsStopsNobody",
		"", ""}},
	{"A slow handler delays no other topic", []string{
		"TestStockSubscriber_SlowHandlerStopsOtherTopics", conforms("SlowHandlerDelaysNoOtherTopic"),
		"", onKafka("SlowHandlerDelaysNoOtherTopic")}},
	{"Handlers of one queue work at the same time", []string{
		"TestStockQueue_ConsumersWorkOneAtATime", conforms("HandlersOfOneQueueRunConcurrently"),
		"", onKafka("HandlersOfOneQueueRunConcurrently")}},
	{"A message is delivered when it is committed, not at the next poll", []string{
		"TestStockSubscriber_SleepsUntilNextPoll", conforms("MessageIsDeliveredWithoutPolling"),
		"", onKafka("MessageIsDeliveredWithoutPolling")}},
	{"While a failed message waits for its next attempt, other keys go on", []string{
		"TestStockRetry_BlocksAllKeysWhileItSleeps", conforms("BackoffLongerThanTimeLimitBlocksNoOtherKey"),
		"TestStockKafkaSubscriber_RetriesOneMessageEndlessly", onKafka("BackoffLongerThanTimeLimitBlocksNoOtherKey")}},
	{"Many messages share a transaction, or a request to the broker", []string{
		"TestStockForwarder_ForwardsOneMessageAtATime", conforms("BacklogIsHandledInBatches"),
		"TestStockKafkaPublisher_SendsOneRequestPerMessage", "TestSender_SendsManyRowsInFewRequests"}},
	{"A pool that is too small is refused at the start", []string{
		"TestStockSubscriber_DeadlocksWithHandlersOnSmallPool", "TestStart_RefusesAPoolThatIsTooSmallOrTooLarge",
		"", ""}},
	{"A statement is parsed once per connection", []string{
		"TestStockDriver_ParsesEachStatementAgain", "TestConn_PreparesTextOnce",
		"", ""}},
	{"After a restore into a new cluster, subscribers continue where they were", []string{
		"TestStockSubscriber_StallsAfterRestoreIntoNewCluster", "TestRestore_IntoANewClusterContinuesAtTheSameOffsets",
		"", ""}},

	// A failure concerns its own message only, and ends.
	{"A message that keeps failing ends as a dead letter, however long the waits between its attempts", []string{
		"TestStockRetry_LongerThanAckDeadlineNeverEnds", conforms("BackoffLongerThanTimeLimitBlocksNoOtherKey"),
		"TestStockKafkaSubscriber_RetriesOneMessageEndlessly", onKafka("BackoffLongerThanTimeLimitBlocksNoOtherKey")}},
	{"An SQL error of one message fails that message only", []string{
		"TestStockSubscriber_SQLErrorOfOneMessagePoisonsNeighbours", conforms("FailureAffectsOnlyItsMessageAndFollowsItsErrorKind"),
		"", onKafka("FailureAffectsOnlyItsMessageAndFollowsItsErrorKind")}},
	{"A statement that was cancelled at its deadline costs the messages beside it nothing", []string{
		"TestStockDriver_LosesConnectionWithCancelledStatement", conforms("HandlerTimeoutIsNotRetriedImmediately"),
		"", onKafka("HandlerTimeoutIsNotRetriedImmediately")}},
	{"A shutdown creates no dead letter", []string{
		"TestStockPoisonQueue_PoisonsHealthyMessagesAtShutdown", conforms("ShutdownUnderLoadLeavesNothingHalfDone"),
		"TestStockKafkaPoisonQueue_PoisonsHealthyMessagesAtShutdown", onKafka("ShutdownUnderLoadLeavesNothingHalfDone")}},
	{"A database that is unavailable creates no dead letter", []string{
		"TestStockPoisonQueue_PoisonsHealthyMessagesAfterLostConnection", conforms("KilledConnectionsLoseAndDuplicateNothing"),
		"", onKafka("KilledConnectionsLoseAndDuplicateNothing")}},
	{"One failed message is one dead letter, whatever else fails meanwhile", []string{
		"TestStockPoisonQueue_PublishesOutsideAckTransaction", "TestAFailedMessageGoesAsideInTheTransactionThatMovesThePosition",
		"", ""}},
	{"A dead letter is the unchanged message, with attempts and times beside it", []string{
		"TestStockPoisonQueue_ChangesMessageAndCountsNoAttempts", conforms("DeadLetterKeepsMessageUnchanged"),
		"", onKafka("DeadLetterKeepsMessageUnchanged")}},
	{"Any bytes can be stored as a message", []string{
		"TestStockSchema_RefusesMalformedMessage", "TestAMessageThatCannotBeReadGoesAsideAndOddMetadataDoesNotMatter",
		"", ""}},
	{"A malformed message becomes a dead letter, and those behind it are handled", []string{
		"TestStockPoisonQueue_MalformedMessageBlocksTopic", "TestAMessageThatCannotBeReadGoesAsideAndOddMetadataDoesNotMatter",
		"TestStockKafkaSubscriber_StopsAtUnreadableRecord", "TestConsumer_PoisonRecordsOfAFakeBrokerBlockNoOthers"}},
	{"A row that is no envelope blocks no other message", []string{
		"TestStockForwarder_IsBlockedByRowWithoutEnvelope", "TestAMessageThatCannotBeReadGoesAsideAndOddMetadataDoesNotMatter",
		"", ""}},
	{"An event of a type that a subscriber does not know blocks no other message", []string{
		"TestStockEventProcessor_BlocksOnUnknownEvent", conforms("TypeAddedToSubscriberIsDeliveredFromThenOn"),
		"", onKafka("TypeAddedToSubscriberIsDeliveredFromThenOn")}},
	{"An event of a type that only a newer version of its subscriber knows is kept for that version", []string{
		"TestStockEventProcessor_LosesEventOfNewerVersion", conforms("UnknownTypeWaitsForNewerSubscriberVersion"),
		"", onKafka("UnknownTypeWaitsForNewerSubscriberVersion")}},
	{"The waits between attempts are the configured ones", []string{
		"TestStockRetry_ShouldRetryHookDelaysRetries", conforms("ConfiguredBackoffIsUsed"),
		"", onKafka("ConfiguredBackoffIsUsed")}},
	{"A handler's time limit ends with the handler: later steps have a live context", []string{
		"TestStockTimeout_LeavesEndedContextOnMessage", conforms("FailureAffectsOnlyItsMessageAndFollowsItsErrorKind"),
		"", onKafka("FailureAffectsOnlyItsMessageAndFollowsItsErrorKind")}},
	{"The log contains nothing of a message's contents", []string{
		"TestStockLogs_ContainMessageContents", "TestWatermill_LogsHarmlessFieldsOnly",
		"", ""}},

	// On Kafka alone.
	{"A new subscriber receives earlier events", []string{"", "",
		"TestStockKafkaGroup_StartsAtNewestRecord", "TestConsumer_NewGroupReadsFromOldestRecord"}},
	{"Records that retention left beyond the committed offset are received", []string{"", "",
		"TestStockKafkaGroup_SkipsRecordsAfterRetention", "TestConsumer_ContinuesBehindDeletedRecords"}},
	{"An error reply for a record that was written creates no duplicate", []string{"", "",
		"TestStockKafkaProducer_RetryDuplicatesRecord", "TestSender_TransientFaultCausesNoErrorAndNoDuplicate"}},
	{"An acknowledged record is on all replicas", []string{"", "",
		"TestStockKafkaProducer_NeedsOneReplicaOnly", "TestProducer_WaitsForAllReplicasAndWritesOnce"}},
	{"An acknowledged record is not lost with the broker that acknowledged it", []string{"", "",
		"TestStockPublisher_LosesWhatOnlyTheLeaderOfApacheKafkaHad", "TestProducer_RecordOnOneOfThreeBrokersIsNotConfirmed"}},
	{"A record that is sent again after a producer gave up takes effect once", []string{"", "",
		"TestStockKafkaProducer_IdempotenceEndsAtPublishError", "TestConsumer_RecordResentByAnotherProducerHasOneEffect"}},
	{"Messages finished before the brokers removed a group member take no second effect", []string{"", "",
		"TestStockKafkaSubscriber_RepeatsFinishedMessagesAfterLostSession", "TestConsumer_LostSessionRepeatsNoEffect"}},
	{"Nor do messages of a group whose offsets expired or were deleted", []string{"", "",
		"TestStockKafkaGroup_HandlesEverythingAgainAfterOffsetsExpire", "TestConsumer_LostGroupOffsetsRepeatNoEffect"}},
	{"Another process can join a group while a message keeps failing, and healthy messages continue", []string{"", "",
		"TestStockKafkaGroup_StallsWhenMemberJoinsDuringEndlessNacks", "TestConsumer_FailingMessageDelaysNoRebalance"}},
	{"Brokers that hang make no publisher wait", []string{"", "",
		"TestStockKafkaPublisher_HasNoTimeLimit", "TestRelay_DetectsAHangingBrokerAndSendsTheOutboxLater"}},
	{"A message that no broker accepts is refused when it is published, and blocks nothing later", []string{"", "",
		"TestStockForwarder_IsBlockedByMessageThatKafkaRefuses", onKafka("MessageTooLargeOrWithoutKeyIsRefused")}},
	{"Messages of one key stay in order: a message without a key is refused", []string{"", "",
		"TestStockKafkaMarshaler_SetsNoKey", onKafka("MessageTooLargeOrWithoutKeyIsRefused")}},
	{"A key's partition is the one that a Java client computes", []string{"", "",
		"TestStockKafkaPartitioner_DiffersFromJava", "TestProducer_PartitionsKeysAsJava"}},
	{"Foreign records are distinguished, with or without an id", []string{"", "",
		"TestStockKafkaMarshaler_ForeignRecordsShareOneID", "TestRead_CompletesForeignRecord"}},
	{"A handler that continues after its partition was reassigned has no effect", []string{"", "",
		"TestStockKafkaHandler_ContinuesAfterPartitionWasLost", onKafka("StalledProcessDoesNoHarmWhenItResumes")}},
	{"Partitions that were added later are read", []string{"", "",
		"TestStockKafkaSubscriber_MissesAddedPartitions", "TestProducer_UsesPartitionsAddedToAFakeBroker"}},
	{"A partition without progress is detected, and read all the same", []string{"", "",
		"TestStockKafkaSubscriber_LogsNothingWhenPartitionStalls", "TestWatchdog_ReadsStalledPartitionAndRestartsConsumer"}},
	{"Topics are created at the start, and never by using a name", []string{"", "",
		"TestStockKafkaPublisher_CreatesMisspeltTopics", "TestTopics_CreatesMissingTopicsOnly"}},
	{"A deleted topic is created again with its messages", []string{"", "",
		"TestStockKafkaPublisher_RecreatesDeletedTopic", "TestWatchdog_RecreatesDeletedTopicWithItsMessages"}},
	{"Only intended headers leave the program", []string{"", "",
		"TestStockKafkaMarshaler_SendsAllMetadata", "TestMarshaler_WritesCloudEventInBinaryMode"}},
}
