// Package paymentapi is the contract of the payment module: what it says,
// what may be asked of it, and the order keys both sides write.
//
// # What is promised
//
//   - A payment that was captured has exactly one [Completed], written in the
//     transaction that captured it. A payment that will never be captured has
//     exactly one [Failed]. No payment has both.
//   - A [Refunded] follows the Completed of the same payment, at most once: the
//     whole captured amount goes back.
//   - Key is the order key, so the events of one order are heard in order. An
//     order whose payment failed may be paid again: then its Failed comes
//     first, under another payment id.
//   - [Refund] may be sent more than once, and early: a second one of an order
//     that is refunded, or about to be, changes nothing; one that arrives while
//     the payment is still open is kept, and acted on when the payment is
//     captured. One for an order that has no payment, or none that was or can
//     still be captured, is a dead letter: someone expects money back that was
//     never taken, and a person must look.
//
// # What is not
//
//   - Refunds of a part of the amount.
//   - Order between different orders.
//
// Amounts are whole minor units of an ISO 4217 currency (KRW has no decimals:
// 15000 is ₩15,000; USD has two: 1500 is $15.00). Times are UTC, RFC 3339.
// Nothing here is personal data: a user is an id.
//
// Contracts grow by adding fields; a reader ignores those it does not know.
package paymentapi
