// Package dispatch carries recorded intents to the outside: a charge at a
// payment gateway, a mail, whatever a transaction cannot do.
//
// A use case or a handler records an intent with [Dispatcher.Record] in its own
// transaction. After the commit a worker of [Dispatcher.Run] claims it, makes
// the call with no transaction open, and records the final result with Settle
// in the transaction that also finishes the intent.
//
// # What it promises
//
//   - The intent exists if and only if the transaction that recorded it
//     committed.
//   - Every intent ends as done or failed, and Settle's effect for that end
//     happens exactly once: the transaction that settles compares the lease and changes
//     nothing if it was lost. A worker that woke up late is fenced off.
//   - The call is made at least once, each time with the same Intent.ID: the
//     outside's idempotency key. A call whose process died is made again when
//     its lease ends: Timeout plus five seconds, by the database's clock.
//   - An attempt is counted before its call, so that a call which kills the
//     process uses up attempts too. After MaxAttempts calls the intent is
//     settled as failed, without a further call.
//   - While a lease holds, no other worker, here or in another process, holds
//     the intent.
//   - A failure of our own database uses up no attempt: the result is kept in
//     memory and recorded when the database is back, unless the lease was taken
//     over by then.
//
// # What it does not promise
//
//   - That a failed intent did not happen outside. A call that timed out may
//     have succeeded, and Outcome.Err says only that no success was seen. Who
//     must know, asks the outside with the intent's ID.
//   - Order: intents of one key may be called at the same time.
//   - That a Call which ignores its context is stopped; its result is fenced.
//
// # Failures
//
// The error of a Call decides by its kind (package errs): kinds whose reaction
// is Dead (the outside refused it) are final at once; everything else, also a
// panic, is tried again after the back-off until MaxAttempts.
//
// A Settle that fails because the database is away or contended is repeated
// where it stands. One that fails otherwise, or panics, is repeated three times
// and then given back: the intent waits as long again as it has existed (one
// second to one hour) and is called and settled anew. It is logged as an error
// and stays visible in the row.
//
// An intent that failed stays, for [Failed] to show to an operator. [Retry]
// hands it back once its cause is mended: it is called with all attempts anew
// and settled once more, so that a Settle must cope with a success, or another
// failure, after a failure.
//
// # Shutdown
//
// When Run's context ends nothing more is claimed; calls in flight have
// Timeout plus three seconds to end and to be settled. What is left then is
// cancelled, given back uncounted if the database still answers, and called
// again by the next process.
//
// # The row
//
// The table `dispatch` lies in the module's schema (Migrations). The payload
// stays in the row: put ids into it, never a secret. last_error is bounded to
// 500 characters, with addresses, long numbers and credentials masked.
package dispatch
