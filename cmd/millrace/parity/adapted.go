package parity

// adapted is the only list of allowed differences between runs, each with a reason. A
// key is "line.field", or "line" if whole rows may differ. These fields are compared
// like all others; a line is called adapted only if it differs in listed fields and
// nowhere else.
var adapted = map[string]string{
	"dataplatform.file":                  "files are cut every second, wherever the stream of events is then; the demo checks that each record is in one file",
	"dataplatform.record.position":       "records are numbered in the order of their arrival, which between keys is left to chance",
	"payment.payment_history.cause":      "the gateway answers and calls back at the same time: whichever comes first settles the payment",
	"payment.gateway_results.source":     "the gateway answers and calls back at the same time; whichever result comes first is kept",
	"payment.gateway_results.verdict":    "the gateway answers and calls back at the same time: a PENDING that comes second is late",
	"payment.gateway_results.webhook_id": "only a result that was called back has one, see source",
}
