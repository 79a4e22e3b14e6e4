// Package outbound makes durable calls to outside systems: a charge at a
// payment gateway, a mail, anything that cannot be part of a transaction.
//
// A use case or a handler records a call with [Queue.Record] in its own
// transaction. After the commit a worker of [Queue.Run] claims it, makes it
// with Do outside of any transaction, and completes it: it records the final
// result with OnComplete in the transaction that also changes the call's state.
//
// # Guarantees
//
//   - A call exists if and only if the transaction that recorded it was
//     committed.
//   - Every call completes as succeeded or failed, and the effect of OnComplete
//     for that result happens exactly once: the transaction checks the lease
//     before OnComplete and once more after it, and changes nothing if it was
//     lost. A stalled worker that continues late is fenced off.
//   - Do is attempted at least once, each time with the same Call.ID, which is
//     the idempotency key for the outside system. If the process dies, another
//     attempt follows when its lease expires: at most Timeout plus five seconds
//     later, by the database's clock.
//   - An attempt is counted before Do, so a call that kills the process uses up
//     attempts, too. After MaxAttempts attempts the call fails, without another
//     one.
//   - While a lease holds, no other worker has the call, in this process or
//     another. The lease is renewed until Timeout, and while the result waits
//     to be recorded.
//   - A failure of our own database, or a lock held there, uses up no attempt,
//     if Do returns its own as [NotMade]. The result is kept in memory and is
//     recorded when the failure is over, unless the lease could not be renewed
//     and another process has taken it. If the reply to a claim is lost, its
//     calls are requeued uncounted, unless their leases expired first and
//     another process has taken them.
//
// # Not guaranteed
//
//   - That a failed call had no effect outside. An attempt that timed out may
//     have succeeded; Outcome.Err means only that no success was seen. To find
//     out, ask the outside system with the call's ID.
//   - Order: calls of one key may be made at the same time.
//   - That a Do that ignores its context is stopped; its result is fenced off.
//
// # Failures
//
// The kind of Do's error (package errs) decides. Kinds with the reaction Dead
// (the outside system refused the call) are final at once. Every other error,
// and a panic, is retried with backoff until MaxAttempts.
//
// A [Delay] affects every call of the queue: the outside system is unreachable,
// or refuses our account. It uses up no attempts and no further calls are made.
// After a pause (DelayFirst, doubling up to Delay.Longest) one call is made as
// a probe, each time another one, until a probe has a result other than a
// Delay. The start and the end are logged, each with one line; meanwhile
// [Queue.Delayed] returns the cause and [Waiting] lists the calls. Each process
// detects the delay by itself. If a call returns a Delay again after others had
// results, only that call waits, uncounted: as long again as it has existed, at
// least a second and at most Delay.Longest.
//
// An OnComplete that fails because the database is unavailable or contended is
// retried without another Do. If it fails otherwise, or panics, it is retried
// three times. Then the call is requeued: it waits as long again as it has
// existed (one second to one hour), is made again, and completed again. The
// failure is logged as an error and stays visible in the row.
//
// A failed call is kept, so that [Failed] can list it for an operator. When the
// cause is fixed, [Retry] makes it pending with all its attempts, and it is
// completed once more. So an OnComplete must handle a success, or another
// failure, after a failure.
//
// # Shutdown
//
// When Run's context ends, no more calls are claimed. Calls in flight have
// Timeout plus three seconds to be completed. After that they are cancelled,
// requeued uncounted if the database still responds, and made again by the next
// process.
//
// # Table
//
// The table `outbound_calls` is in the module's schema (Migrations). WARNING:
// the payload stays in the row, so store IDs in it, never a secret. last_error
// is processed by package redact: shortened, with addresses, long numbers and
// credentials masked.
package outbound
